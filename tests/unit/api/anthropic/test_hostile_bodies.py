"""Whatever JSON comes, no route of Anthropic's answers 5xx, and every refusal has its form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.api.anthropic import schema
from appliance.api.dialect.fields import Body
from appliance.api.dialect.validation import validated
from appliance.api.exchange import Exchange
from appliance.errors import RequestError
from tests.unit.api.anthropic.asked import HELLO, VERSION, refusal
from tests.unit.api.anthropic.test_messages import CALL, RESULT, TOOL
from tests.unit.api.door import Door
from tests.unit.api.test_hostile_bodies import ODD, VALUES
from tests.unit.cpu_time import least_cpu_s

PROMPT = {name: value for name, value in HELLO.items() if name != "max_tokens"}
ROUTES: dict[str, tuple[type[Body], dict[str, Any]]] = {
    "/v1/messages": (schema.MessagesBody, HELLO),
    "/v1/messages/count_tokens": (schema.CountTokensBody, PROMPT),
}
BLOCKS: list[Any] = [
    {"type": "text", "text": "a"},
    {"type": "thinking", "thinking": "a"},
    {"type": "redacted_thinking", "data": "a"},
    {"type": "image", "source": {}},
    CALL,
    RESULT,
]
MANY = 100_000


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


def accept(door: Door, path: str, body: dict[str, Any]) -> None:
    """200, or a whole refusal."""
    answer = door.post(path, body, VERSION)
    if answer.status_code != 200:
        assert refusal(answer)[0] in {400, 404}, (body, answer.text)


@pytest.mark.parametrize("path", ROUTES)
def test_every_field_with_every_odd_value_is_answered_or_refused(path: str, door: Door) -> None:
    model, honest = ROUTES[path]
    for name in [*model.model_fields, "user", "store", "functions", "nobody_knows"]:
        for value in [*ODD, [{"type": "text"}], [TOOL], {"type": "enabled"}, {"type": "tool"}]:
            accept(door, path, {**honest, name: value})


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_blocks_are_answered_or_refused(data: st.DataObject, door: Door) -> None:
    def block() -> Any:
        honest = data.draw(st.sampled_from(BLOCKS))
        names = st.sampled_from([*honest, "x", "content", "input", "is_error"])
        return {**honest, **data.draw(st.dictionaries(names, VALUES, max_size=2))}

    roles = st.sampled_from(["user", "assistant", "system"])
    messages = [
        {"role": data.draw(roles), "content": [block() for _ in range(data.draw(st.integers(0, 3)))]}
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    path = data.draw(st.sampled_from(sorted(ROUTES)))
    accept(door, path, {**ROUTES[path][1], "messages": messages, "tools": [TOOL]})


FLOODS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [5] * MANY},
    "blocks": {"messages": [{"role": "user", "content": [{"type": "text"}] * MANY}]},
    "kinds of blocks": {"messages": [{"role": "user", "content": [{"type": "x"}] * MANY}]},
    "fields of a block": {
        "messages": [{"role": "user", "content": [{"type": "text", **dict.fromkeys(map(str, range(MANY)))}]}]
    },
    "blocks of the system": {"system": [{}] * MANY},
    "tools": {"tools": [{}] * MANY},
    "stop sequences": {"stop_sequences": [5] * MANY},
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_faults_is_refused_as_fast_as_one(flood: str) -> None:
    exchange = Exchange(request_id="r", method="POST", gone=lambda: False, observer=None)

    def refused() -> None:
        with pytest.raises(RequestError):
            validated(schema.MessagesBody, {**HELLO, **FLOODS[flood]}, exchange)

    assert least_cpu_s(refused) < 2.0
