"""Whatever JSON comes, no route answers 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.api.dialect.fields import Body
from appliance.api.dialect.validation import validated
from appliance.api.exchange import Exchange
from appliance.api.openai import schema
from appliance.api.openai.infill import InfillBody
from appliance.api.openai.responses.schema import ResponseBody
from appliance.errors import RequestError
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import HELLO, Door
from tests.unit.cpu_time import least_cpu_s

ROUTES: dict[str, tuple[type[Body], dict[str, Any]]] = {
    "/v1/chat/completions": (schema.ChatBody, HELLO),
    "/v1/completions": (schema.CompletionBody, {"model": MODEL, "prompt": "x"}),
    "/v1/responses": (ResponseBody, {"model": MODEL, "input": "x"}),
    "/v1/embeddings": (schema.EmbeddingBody, {"model": MODEL, "input": "x"}),
    "/v1/rerank": (schema.RerankBody, {"model": MODEL, "query": "q", "documents": ["x"]}),
    "/infill": (InfillBody, {"input_prefix": "a", "input_suffix": "b"}),
    "/tokenize": (schema.TokenizeBody, {"content": "x"}),
    "/detokenize": (schema.DetokenizeBody, {"tokens": [1]}),
}
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 5, 2**31, 2**63, -(2**63), 0.5, -0.5, 1e308, -1e308, 1e-320,
    "", "x", "auto", "none", "\x00", "\U0001f600", [], [[]], [None], [1], ["x"], [[1], ["x"]], {}, {"": None},
    {"type": "function"}, {"type": "json_schema"}, {"type": "json_object", "schema": {}}, {"1": 2**63},
    [{"role": "user"}],
    [{"role": "assistant", "tool_calls": [{}]}], {"a": {"b": {"c": 2**64 - 1}}},
]  # fmt: skip
VALUES = st.recursive(
    st.sampled_from([value for value in ODD if not isinstance(value, list | dict)]) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "name", "function", "schema", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def field_names(model: type[Body]) -> list[str]:
    return [*model.model_fields, "user", "store", "functions", "nobody_knows"]


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest.mark.parametrize("path", ROUTES)
def test_every_field_with_every_odd_value_is_200_or_400(path: str, door: Door) -> None:
    model, honest = ROUTES[path]
    for name in field_names(model):
        for value in ODD:
            answer = door.post(path, {**honest, name: value})
            assert answer.status_code in {200, 400, 404}, (name, value, answer.text)
            if answer.status_code == 400:
                assert answer.json["error"]["message"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_bodies_are_never_5xx(data: st.DataObject, door: Door) -> None:
    path = data.draw(st.sampled_from(sorted(ROUTES)))
    model, honest = ROUTES[path]
    body = {**honest, **data.draw(st.dictionaries(st.sampled_from(field_names(model)), VALUES, max_size=4))}
    answer = door.post(path, body)
    assert answer.status_code < 500, (body, answer.text)
    if answer.status_code != 200:
        assert set(json.loads(answer.text)["error"]) == {"message", "type", "param", "code"}


MANY = 300_000
MAX_CPU_S = 2.0
"""Three to six times what it takes here; to describe that many faults one by one takes ten times that."""
FLOODS: dict[str, dict[str, Any]] = {
    "values of the bias": {"logit_bias": {str(number): "x" for number in range(MANY)}},
    "messages": {"messages": [5] * MANY},
    "unknown fields": {str(number): 1 for number in range(MANY)},
    "fields of a message": {"messages": [{"role": "user", **{str(number): 1 for number in range(MANY)}}]},
}


RESPONSE_FLOODS: dict[str, dict[str, Any]] = {
    "items": {"input": [5] * MANY},
    "items of no kind": {"input": [{"type": "x"}] * MANY},
    "fields of an item": {"input": [{"role": "user", **{str(number): 1 for number in range(MANY)}}]},
    "metadata": {"metadata": {str(number): 1 for number in range(MANY)}},
    "tools": {"tools": [{"type": "function"}] * MANY},
    "include": {"include": ["x"] * MANY},
}


def refused(model: type[Body], body: dict[str, Any]) -> None:
    exchange = Exchange(request_id="r", method="POST", gone=lambda: False, observer=None)
    with pytest.raises(RequestError):
        validated(model, body, exchange)


@pytest.mark.parametrize("flood", RESPONSE_FLOODS)
def test_a_flood_of_faults_in_a_response_is_refused_as_fast(flood: str) -> None:
    body = {"model": MODEL, "input": "x", **RESPONSE_FLOODS[flood]}
    assert least_cpu_s(lambda: refused(ResponseBody, body)) < MAX_CPU_S


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_faults_is_refused_as_fast_as_one(flood: str) -> None:
    assert least_cpu_s(lambda: refused(schema.ChatBody, {**HELLO, **FLOODS[flood]})) < MAX_CPU_S


def test_a_flood_of_wrong_tokens_is_refused_at_the_first(door: Door) -> None:
    answer = door.post("/v1/completions", {"model": MODEL, "prompt": [1, *["x"] * MANY]})
    assert answer.json["error"]["param"] == "prompt.1"
