"""Every field of a request's body says what it is, and what stands there is true of its default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pydantic
import pytest

from appliance.api.dialect.fields import ModelBody, SamplingFields
from appliance.api.openai.schema import ChatBody, CompletionBody
from appliance.api.openapi.__main__ import whole_door
from appliance.api.openapi.field_docs import FieldDocs
from appliance.api.openapi.operation import Operation
from appliance.api.openapi.schemas import schemas_of
from appliance.wire.messages import SamplingParams

TO_DO = "write below the field, as a docstring, what it is: unit, range, default; then: make docs"
DOCS = FieldDocs()


def bodies() -> Iterator[type[pydantic.BaseModel]]:
    """Those that pydantic checks; each once."""
    told: list[dict[str, Operation]] = [
        getattr(resource, "OPERATIONS", {}) for resource in whole_door().resources.values()
    ]
    kinds = {one.body for of_resource in told for one in of_resource.values() if isinstance(one.body, type)}
    yield from sorted((kind for kind in kinds if issubclass(kind, pydantic.BaseModel)), key=str)


BODIES = list(bodies())


class First(pydantic.BaseModel):
    one: int
    """The first."""
    two: int
    """Over
    two lines.
    """
    three: int

    def told(self) -> str:
        """Not of a field."""
        return ""


class Second(First):
    one: int
    two: int = pydantic.Field(alias="zwei")
    """Anew."""


def properties_of(body: type[pydantic.BaseModel]) -> dict[str, Any]:
    told, named = schemas_of([body])
    properties: dict[str, Any] = named[told[0]["$ref"].rpartition("/")[2]]["properties"]
    return properties


def test_the_bodies_of_all_dialects_are_looked_at() -> None:
    names = {body.__module__.split(".")[2] for body in BODIES}
    assert {"openai", "ollama", "anthropic", "residency"} <= names
    assert len(BODIES) > 15


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body.__module__.split('.')[2]}.{body.__name__}")
def test_every_field_of_a_body_is_described(body: type[pydantic.BaseModel]) -> None:
    properties = properties_of(body)
    assert set(properties) == {field.alias or name for name, field in body.model_fields.items()}
    assert [name for name, told in properties.items() if not told.get("description")] == [], TO_DO


def test_each_sampler_tells_the_default_that_holds() -> None:
    docs = DOCS.of(SamplingFields)
    numbers = {
        field.name: field.default
        for field in msgspec.structs.fields(SamplingParams)
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    }
    assert len(numbers) > 20
    for name, default in numbers.items():
        assert docs[name].endswith(f"Default: the model's, else {default}."), name


def test_words_are_inherited_unless_a_field_is_declared_anew() -> None:
    docs = FieldDocs("tests")
    assert docs.of(First) == {"one": "The first.", "two": "Over\ntwo lines."}
    assert docs.of(Second) == {"two": "Anew."}
    assert DOCS.of(ChatBody)["keep_alive"] == DOCS.of(ModelBody)["keep_alive"]
    assert DOCS.of(CompletionBody)["max_tokens"] != DOCS.of(ChatBody)["max_tokens"]


def test_of_strangers_and_of_classes_without_source_nothing_is_told() -> None:
    assert DOCS.of(First) == {}
    assert DOCS.of(int) == {}
    ours = FieldDocs("tests")
    assert ours.of(type("Made", (First,), {"__module__": __name__})) == ours.of(First)


def test_pydantic_keeps_none_of_the_words() -> None:
    """An idle daemon does not hold what only the document tells."""
    assert not any(field.description for body in BODIES for field in body.model_fields.values())
