"""Every curl command of the documents, word for word, against a running Outpost with the starter model."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from appliance.access import keys as access_keys
from tests import curl_examples
from tests.curl_examples import Answer, Example
from tests.daemon import STARTER, Daemon
from tests.e2e.asking import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

EXAMPLES: Final = curl_examples.collected()
NOT_RUN: Final[dict[str, str]] = {}
"""`FILE:NUMBER` → why it cannot be run here. Empty: all can."""
KEY: Final = "$OUTPOST_API_KEY"
_ID: Final = "my-request-1"
_MODELS: Final = {"smollm2": STARTER, "tiny": STARTER}
"""By each name that the documents give to a model."""
_SHORT: Final = "[engine]\nn_ctx_seq = 192\n"
"""So that a long story is not too long."""


@dataclass(frozen=True)
class Place:
    daemon: Daemon
    env: dict[str, str]

    def run(self, command: str, home: Path) -> Answer:
        return curl_examples.run(command, self.daemon.url, home, self.env)


@pytest.fixture(scope="module")
def without_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Daemon(tmp_path_factory.mktemp("open"), models=_MODELS, config=_SHORT) as daemon:
        yield Place(daemon, {})


@pytest.fixture(scope="module")
def with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    key = access_keys.generate()
    scopes = '["infer", "models:read", "models:write", "keys:admin", "metrics", "system"]'
    config = f'[access.keys]\n{key.key_id} = {{ sha256 = "{key.sha256}", scopes = {scopes} }}\n'
    with Daemon(tmp_path_factory.mktemp("keyed"), models=_MODELS, config=config + _SHORT) as daemon:
        yield Place(daemon, {"OUTPOST_API_KEY": key.text})


@pytest.fixture
def of_its_own(tmp_path: Path) -> Iterator[Place]:
    with Daemon(tmp_path / "own", models=_MODELS, config=_SHORT) as daemon:
        yield Place(daemon, {})


@pytest.fixture
def place(request: pytest.FixtureRequest, example: Example) -> Place:
    """Examples that name a request have an Outpost where no other has had that id."""
    shared = "with_keys" if KEY in example.command else "without_keys"
    found: Place = request.getfixturevalue("of_its_own" if _ID in example.command else shared)
    return found


# ── what must have happened before ─────────────────────────────────────────────────────────────────────────


def _running_request(place: Place, home: Path) -> None:
    """Somebody's request has the id that the example cancels."""
    body = '{"model": "tiny", "ignore_eos": true, "messages": [{"role": "user", "content": "Count."}]}'
    command = (
        f"curl http://127.0.0.1:11434/v1/chat/completions -H 'Content-Type: application/json' "
        f"-H 'X-Request-Id: my-request-1' -d '{body}'"
    )
    other = home / "other"
    other.mkdir()
    threading.Thread(target=place.run, args=(command, other), name="asker").start()
    wait_until(lambda: place.daemon.running_requests() == 1, within_s=60, what="it runs")


def _kept_stream(place: Place, home: Path) -> None:
    """The stream that is taken up was asked for, by the example before it."""
    (asked,) = [one for one in EXAMPLES if "X-Outpost-Resumable" in one.command]
    other = home / "other"
    other.mkdir()
    assert place.run(asked.command, other).status == 200


_BEFORE: Final[dict[str, Callable[[Place, Path], None]]] = {
    "/requests/my-request-1/cancel": _running_request,
    "/streams/my-request-1": _kept_stream,
}


def _expected_type(command: str) -> str:
    """What the documents say that it answers."""
    if '"stream": true' in command or "/outpost/v1/streams/" in command:
        return "text/event-stream"
    if re.search(r"/api/(chat|generate|pull|push|create)\b", command) and '"stream": false' not in command:
        return "application/x-ndjson"
    return "application/json"


@pytest.mark.parametrize("example", [one for one in EXAMPLES if str(one) not in NOT_RUN], ids=str)
def test_it_is_answered_as_the_document_says(example: Example, place: Place, tmp_path: Path) -> None:
    for path, prepare in _BEFORE.items():
        if path in example.command:
            prepare(place, tmp_path)
    answer = place.run(example.command, tmp_path)
    assert answer.exit_code == 0, answer
    assert 200 <= answer.status < 300, answer
    assert answer.content_type == _expected_type(example.command)
    items = answer.items()
    assert items
    assert not any("error" in item and item["error"] for item in items), items
    if example.shown:
        assert items == [json.loads(example.shown)]


def test_no_command_of_a_document_is_left_out() -> None:
    """A command in a paragraph, an indented block or after a pipe would be found by nobody."""
    missed = {
        source: (curl_examples.mentions(text), len(curl_examples.of_document(source, text)))
        for source, text in curl_examples.documents()
    }
    assert {source: counts for source, counts in missed.items() if counts[0] != counts[1]} == {}
    assert len(EXAMPLES) >= 10
    assert set(NOT_RUN) <= {str(one) for one in EXAMPLES}
    assert all(NOT_RUN.values())


def test_a_document_is_taken_apart() -> None:
    text = (
        "```console\n$ curl -N http://h/a \\\n    -d '{}'\nnot this\n$ outpost list\n```\n"
        '```sh\ncurl http://h/b\n# {"a": 1}\noutpost cancel x\n```\nAsk `curl -s http://h/c` for it.\n'
    )
    first, second = curl_examples.of_document("x.md", text)
    assert first.command == "curl -N http://h/a \\\n    -d '{}'"
    assert (second.command, second.shown, str(second)) == ("curl http://h/b", '{"a": 1}', "x.md:2")
    assert curl_examples.mentions(text) == 3


def test_curl_is_there() -> None:
    assert subprocess.run(["curl", "--version"], capture_output=True, check=False).returncode == 0
