"""`docs/openai.md`, the code, and the types of the `openai` package know the same fields, and each field
meets the fate that the page promises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon.testing
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from appliance.api.dialect.fields import Body
from appliance.api.dialect.validation import IGNORED, REFUSED
from appliance.api.openai import schema
from appliance.api.openai.infill import InfillBody
from appliance.api.openai.responses.schema import ResponseBody
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import HELLO, Door, refusal

PAGE = (Path(__file__).parents[4] / "docs" / "openai.md").read_text()
FATES = {"honoured", "refused", "warned"}


@dataclass(frozen=True, kw_only=True)
class Route:
    path: str
    body: type[Body]
    honest: Mapping[str, Any]
    params: frozenset[str] = frozenset()
    """What the package can send."""

    @property
    def table(self) -> dict[str, str]:
        """Field → fate, each once."""
        text = re.split(rf"^##+ .*POST {self.path}$", PAGE, flags=re.MULTILINE)[1].split("\n#")[0]
        told: dict[str, str] = {}
        for names, fate in re.findall(r"^\| (`[^|]+) \| (\w+) \|", text, re.MULTILINE):
            if fate in FATES:
                for name in re.findall(r"`(\w+)`", names):
                    assert name not in told, f"{name} stands there twice"
                    told[name] = fate
        return told

    def named(self, fate: str) -> set[str]:
        return {name for name, told in self.table.items() if told == fate}

    def ask(self, **fields: Any) -> falcon.testing.Result:
        return Door().post(self.path, {**self.honest, **fields})


def params_of(*kinds: type) -> frozenset[str]:
    return frozenset(name for kind in kinds for name in kind.__annotations__)


CHAT = chat_create_params.CompletionCreateParamsBase
RESPONSE = response_create_params.ResponseCreateParamsBase
TEXT = completion_create_params.CompletionCreateParamsBase
STREAM = frozenset({"stream"})
ROUTES = [
    Route(path="/v1/chat/completions", body=schema.ChatBody, honest=HELLO, params=params_of(CHAT) | STREAM),
    Route(
        path="/v1/completions",
        body=schema.CompletionBody,
        honest={"model": MODEL, "prompt": "x"},
        params=params_of(TEXT) | STREAM,
    ),
    Route(
        path="/v1/embeddings",
        body=schema.EmbeddingBody,
        honest={"model": MODEL, "input": "x"},
        params=params_of(embedding_create_params.EmbeddingCreateParams),
    ),
    Route(
        path="/v1/responses",
        body=ResponseBody,
        honest={"model": MODEL, "input": "x"},
        params=params_of(RESPONSE) | STREAM,
    ),
    Route(path="/infill", body=InfillBody, honest={"input_prefix": "a", "input_suffix": "b"}),
]
each_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)


@each_route
def test_what_the_page_calls_honoured_are_the_fields_of_the_body(route: Route) -> None:
    assert route.named("honoured") == set(route.body.model_fields)


@each_route
def test_what_the_page_calls_warned_or_refused_is_what_the_code_knows(route: Route) -> None:
    fields = set(route.body.model_fields)
    ignored = (set(IGNORED) | set(route.body.ignored)) - fields
    assert route.named("warned") == ignored
    assert route.named("refused") == (set(REFUSED) | set(route.body.refused)) - fields - ignored


@each_route
def test_no_field_of_the_openai_package_is_forgotten(route: Route) -> None:
    assert len(route.params) > 4 or route.path == "/infill"
    assert route.params - set(route.table) == set()


@each_route
def test_what_is_refused_is_refused_by_its_name(route: Route) -> None:
    for name in route.named("refused"):
        assert refusal(route.ask(**{name: "x"})) == (400, name, "unsupported_parameter"), name


@each_route
def test_what_is_warned_of_is_named_in_the_header(route: Route) -> None:
    for name in route.named("warned"):
        answer = route.ask(**{name: "x"})
        assert answer.status_code == 200, answer.text
        assert f"'{name}' is ignored" in answer.headers["x-outpost-warning"], name


@each_route
def test_null_is_a_field_left_out(route: Route) -> None:
    for name in route.named("honoured") - set(route.honest):
        answer = route.ask(**{name: None})
        assert answer.status_code == 200, (name, answer.text)
        assert "x-outpost-warning" not in answer.headers


@each_route
def test_a_value_of_the_wrong_kind_is_refused_by_the_name_of_its_field(route: Route) -> None:
    """So every field that is honoured is also looked at."""
    for name in route.named("honoured"):
        status, param, _ = refusal(route.ask(**{name: [[{}]]}))
        assert status == 400
        assert (param or "").split(".")[0] == name, name
