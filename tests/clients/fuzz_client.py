"""Thousands of requests made from the daemon's own OpenAPI document, right and wrong, each answer held to it.

    fuzz_client.py URL MODEL EMBEDDER KEY REQUESTS SEED

After a warm-up it prints a line and waits for one, so that others can look at the daemon's memory. The last
line of the output is JSON: how many were sent, the answers by status, the faults found with the command that
shows each of them again.
"""

from __future__ import annotations

import collections
import copy
import json
import sys
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

URL, MODEL, EMBEDDER, KEY = sys.argv[1:5]
REQUESTS, SEED = int(sys.argv[5]), int(sys.argv[6])
WARM_UP = 500
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXPECTED_5XX = {501, 502, 503, 504, 507, 529}
"""Typed refusals: what this Outpost does not do, whom it may not call, when it has no room or time."""
HEADERS = {"Authorization": f"Bearer {KEY}"}
PAUSE_S = 20.0
"""An answer, or the next piece of one, takes no longer."""
TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")


class Fuzz:
    """What was sent and what came. Owned by the only thread."""

    def __init__(self) -> None:
        self.sent = 0
        self.statuses: collections.Counter[int] = collections.Counter()
        self.faults: dict[str, str] = {}
        self.by_operation: dict[str, collections.Counter[int]] = {}
        self.never_wrong: set[tuple[str, Any]] = set()
        """Operations of which no wrong request can be made: whatever is sent, it is what they take."""
        self._session = requests.Session()
        self._session.trust_env = False

    def send(self, case: Any, is_known: bool) -> None:
        label = case.operation.label
        if is_known:
            make_known(case)
        self.sent += 1
        try:
            answer = case.call(session=self._session, headers=HEADERS, timeout=PAUSE_S)
        except requests.exceptions.InvalidHeader:
            return  # the client itself refuses to send it
        except requests.exceptions.RequestException as error:
            self._fault(label, type(error).__name__, f"{error}\n{case.as_curl_command()}")
            self._session = requests.Session()
            self._session.trust_env = False
            return
        status = answer.status_code
        self.statuses[status] += 1
        self.by_operation.setdefault(label, collections.Counter())[status] += 1
        self._look_at(case, answer, label)

    def _look_at(self, case: Any, answer: Any, label: str) -> None:
        checks = CHECKS if answer.status_code not in EXPECTED_5XX else CHECKS[1:]
        try:
            case.validate_response(answer, checks=checks, headers=HEADERS)
        except FailureGroup as group:
            for failure in group.exceptions:
                self._fault(label, f"{answer.status_code} {type(failure).__name__}", str(failure))
        if answer.status_code >= 400 and case.method != "HEAD":
            self._typed(answer, label, case)

    def _typed(self, answer: Any, label: str, case: Any) -> None:
        try:
            has_error = (
                "error" in answer.json() or "errors" in answer.json() or label.startswith("GET /readyz")
            )
        except ValueError:
            has_error = False
        if not has_error:
            self._fault(label, f"{answer.status_code} without an error", case.as_curl_command())

    def _fault(self, label: str, kind: str, text: str) -> None:
        self.faults.setdefault(f"{label}: {kind}", text[:3000])


def make_known(case: Any) -> None:
    """A model that exists, and a short answer: so that what follows the look-up is reached as well."""
    if isinstance(case.path_parameters, dict):
        known = dict.fromkeys({"model", "name"} & set(case.path_parameters), MODEL)
        case.path_parameters = {**case.path_parameters, **known}
    if not isinstance(case.body, dict):
        return
    body = copy.deepcopy(case.body)  # parts of it belong to who makes the next one
    for name in ("model", "name", "source"):
        if isinstance(body.get(name), str) or name == "model":
            body[name] = EMBEDDER if "embed" in case.operation.path else MODEL
    for name in TOKENS:
        if isinstance(body.get(name), int):
            body[name] = min(body[name], 4)
    case.body = body


def told() -> dict[str, Any]:
    """The daemon's document. Its streams of events are texts there, and OpenAPI 3.1 has no more to say of
    them; schemathesis would hold each event to it.
    """
    with requests.Session() as session:
        session.trust_env = False
        document: dict[str, Any] = session.get(f"{URL}/openapi.json", headers=HEADERS, timeout=PAUSE_S).json()
    for path in document["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                answer.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    return document


def weight(operation: Any) -> int:
    """Of the requests, as parts: most for what takes a body, few for what takes nothing."""
    if operation.body:
        return 12
    return 4 if operation.path_parameters or operation.query else 1


def fuzz(fuzzing: Fuzz, document: Any, total: int) -> None:
    """Sends `total` requests or some more."""
    operations = [found.ok() for found in document.get_all_operations()]
    parts = sum(map(weight, operations))
    for operation in operations:
        share = -(-total * weight(operation) // parts)
        modes = [schemathesis.GenerationMode.POSITIVE]
        if operation.body or operation.query:
            modes.append(schemathesis.GenerationMode.NEGATIVE)
        for mode in modes:
            run(fuzzing, operation, mode, -(-share // len(modes)))


def run(fuzzing: Fuzz, operation: Any, mode: Any, examples: int) -> None:
    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), known=st.integers(0, 3))
    def one(case: Any, known: int) -> None:
        fuzzing.send(case, known > 0)

    if (operation.label, mode) in fuzzing.never_wrong:
        return
    try:
        one()
    except hypothesis.errors.Unsatisfiable:
        fuzzing.never_wrong.add((operation.label, mode))


def main() -> None:
    # Wrong keys have tests of their own, and slow down whoever sends them.
    config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    document = schemathesis.openapi.from_dict(told(), config=config)
    document.config.update(base_url=URL)
    fuzzing = Fuzz()
    fuzz(fuzzing, document, WARM_UP)
    print(json.dumps({"sent": fuzzing.sent}), flush=True)
    sys.stdin.readline()
    fuzz(fuzzing, document, REQUESTS)
    found = {
        "sent": fuzzing.sent,
        "statuses": dict(sorted(fuzzing.statuses.items())),
        "operations": {label: dict(counted) for label, counted in fuzzing.by_operation.items()},
        "faults": fuzzing.faults,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
