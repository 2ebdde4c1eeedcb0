"""/v1/chat/completions: response formats and grammars."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.wire.messages import ConstraintKind
from tests.unit.api.door import Door, refusal
from tests.unit.api.openai.asked import sent

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"response_format": {"type": "json_object"}}, ConstraintKind.JSON_OBJECT),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, ConstraintKind.JSON_SCHEMA),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
            ConstraintKind.JSON_SCHEMA,
        ),
        ({"json_schema": SCHEMA}, ConstraintKind.JSON_SCHEMA),
        ({"grammar": 'root ::= "a"'}, ConstraintKind.GBNF),
    ],
)
def test_each_form_of_constraint_reaches_the_engine(fields: dict[str, Any], kind: ConstraintKind) -> None:
    constraint = sent(**fields).constraint
    assert constraint is not None
    assert constraint.kind is kind
    assert constraint.schema == (SCHEMA if kind is ConstraintKind.JSON_SCHEMA else None)


def test_text_is_no_constraint() -> None:
    assert sent(response_format={"type": "text"}).constraint is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= x"}, "response_format"),
        ({"json_schema": SCHEMA, "grammar": "root ::= x"}, "grammar"),
        ({"json_schema": {"$ref": "http://evil/x"}}, "json_schema"),
        ({"json_schema": {"pattern": "a" * 257}}, "json_schema"),
        ({"json_schema": {"a": "x" * 70_000}}, "json_schema"),
        ({"json_schema": {"anyOf": [{}] * 1001}}, "json_schema"),
        ({"grammar": "x" * 20_000}, "grammar"),
    ],
)
def test_a_wrong_constraint_is_400_with_its_path(fields: dict[str, Any], param: str) -> None:
    assert refusal(Door().chat(**fields)) == (400, param, "invalid_value")


def test_raw_grammars_can_be_switched_off() -> None:
    from appliance.api.calls import Limits

    answer = Door(limits=Limits(raw_grammar=False)).chat(grammar='root ::= "a"')
    assert refusal(answer) == (400, "grammar", "unsupported_parameter")
