from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.constraint import compile_constraint
from appliance.errors import InvalidRequest
from appliance.wire.messages import Constraint, ConstraintKind
from tests.fakes.grammar_reader import admits, spoken

SCHEMA = "response_format.json_schema.schema"


def of_schema(schema: Any) -> str:
    compiled = compile_constraint(Constraint(kind=ConstraintKind.JSON_SCHEMA, schema=schema), None)
    assert compiled is not None
    assert not compiled.calls_tool
    return compiled.gbnf


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        (
            {"type": "integer", "minimum": -12, "exclusiveMaximum": 105},
            ["-12", "-1", "0", "9", "10", "104"],
            ["-13", "105", "-0", "01", "1.0"],
        ),
        ({"type": "integer", "minimum": 7}, ["7", "10", "99", "12345"], ["6", "0", "-7"]),
        ({"type": "integer", "maximum": -3}, ["-3", "-10"], ["-2", "0", "3"]),
        (
            {"type": "number", "minimum": -3, "maximum": 7},
            ["-3", "-3.0", "-2.9", "-0.5", "0", "6.9", "7", "7.00"],
            ["-3.1", "7.1", "8"],
        ),
        ({"type": "number", "exclusiveMinimum": 0}, ["0.1", "1", "2.5"], ["0", "0.0", "-1", "-0.1"]),
        (
            {"type": "number", "exclusiveMinimum": 2, "exclusiveMaximum": 3},
            ["2.5", "2.05"],
            ["2", "2.0", "3", "3.0"],
        ),
        ({"type": "number"}, ["1e5", "-2.5E-3", "0"], ["01", ".5", "1e999"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"a\\n€"'], ['"a"', '"abcd"', '"a\n"']),
        (
            {"type": "string", "maxLength": 130},
            ['""', '"' + "a" * 130 + '"', '"' + "a" * 64 + '"'],
            ['"' + "a" * 131 + '"'],
        ),
        ({"type": "string"}, ['"\\ud7ff"', '"😀"', '"\\\\"'], ['"\\ud800"', '"\\x"', '"\t"', "'a'"]),
        ({"type": ["string", "null"], "maxLength": 2}, ["null", '"ab"'], ['"abc"', "3"]),
        (
            {"enum": ['a"b', "c\\d", "é😀", None, 1.5, {"k": [1]}]},
            ['"a\\"b"', '"c\\\\d"', '"é😀"', "null", "1.5", '{"k": [1]}'],
            ['"a"'],
        ),
        ({"type": "string", "enum": ["a", 1]}, ['"a"'], ["1"]),
        ({"const": "x\ny"}, ['"x\\ny"'], ['"x\ny"']),
        ({"type": "boolean"}, ["true", "false"], ["True", "1"]),
        ({}, ["null", "[1, {}]", '{"a":"b"}'], ["", "nul"]),
        (True, ["null", "3"], ["x"]),
        ({"type": "object"}, ["{}", '{"a": {"b":[1,2]}}'], ["[]", "{,}"]),
        ({"type": "object", "additionalProperties": False}, ["{}"], ['{"a":1}']),
        (
            {"type": "object", "additionalProperties": {"type": "null"}},
            ["{}", '{"a":null, "b": null}'],
            ['{"a":1}'],
        ),
        ({"type": "object", "required": ["a"]}, ['{"a":[1]}'], ["{}"]),
        (
            {
                "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
                "required": ["b"],
            },
            ['{"b":null}', '{"a":null,"b":null}', '{"a": null, "b": null, "c": null}', '{"b":null,"c":null}'],
            ["{}", '{"a":null}', '{"b":null,}', '{"b":null,"a":null}', '{"a":null"b":null}'],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}},
            ["{}", '{"a":null}', '{"b":null}', '{"a":null,"b":null}'],
            ['{,"b":null}', '{"a":null,}'],
        ),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3},
            ["[null]", "[null, null,null]"],
            ["[]", "[null,null,null,null]"],
        ),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"type": "array"}, ["[]", "[1, []]"], ["[,]", "[1,]"]),
        (
            {"prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": False},
            ["[null,true]"],
            ["[null]", "[]", "[null,true,1]"],
        ),
        (
            {"prefixItems": [{"type": "null"}], "items": {"type": "boolean"}, "minItems": 3},
            ["[null,true,true]"],
            ["[null,true]"],
        ),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, ["null", "true"], ["1"]),
        ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, ["null", "true"], ["1"]),
        (
            {"oneOf": [{"properties": {"t": {"const": name}}, "required": ["t"]} for name in ("a", "b")]},
            ['{"t":"a"}', '{"t": "b"}'],
            ['{"t":"c"}', "{}"],
        ),
        (
            {
                "allOf": [{"$ref": "#/$defs/x"}, {"properties": {"b": {"type": "null"}}}],
                "$defs": {"x": {"properties": {"a": {"type": "null"}}, "required": ["a"]}},
            },
            ['{"a":null}', '{"a":null,"b":null}'],
            ["{}", '{"b":null}'],
        ),
        (
            {
                "$defs": {"string": {"type": "null"}, "a/b": {"$ref": "#/$defs/string"}},
                "$ref": "#/$defs/a~1b",
            },
            ["null"],
            ['"x"'],
        ),
        (
            {"type": "string", "pattern": '^[A-Z]{2,3}-(\\d+|x"\\\\y)?\\.$'},
            ['"AB-12."', '"ABC-."', '"AB-x\\"\\\\y."'],
            ['"A-."', '"AB-12"'],
        ),
        (
            {"type": "string", "pattern": "^(?:a|bc)[^x\\d]$"},
            ['"aé"', '"bc "'],
            ['"ax"', '"a1"', '"a"', '"bc"'],
        ),
        (
            {"type": "string", "pattern": "^(\\d{1,3}\\.){3}\\d{1,3}(/\\d+)?$"},
            ['"10.0.0.1"', '"1.2.3.4/24"'],
            ['"1.2.3"'],
        ),
        ({"type": "string", "pattern": "^(a+)+$"}, ['"aaa"'], ['""', '"b"']),
        ({"type": "string", "format": "date"}, ['"2026-11-22"'], ['"2026-13-01"', '"2026-02-30"']),
        ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123"']),
        ({"type": "string", "format": "ipv4"}, ['"192.168.0.255"', '"8.8.8.8"'], ['"256.1.1.1"']),
        ({"type": "string", "format": "email"}, ['"a.b@example.org"'], ['"a@b"', '"@x.org"']),
    ],
)
def test_a_schema_admits_its_instances_and_nothing_else(schema: Any, yes: list[str], no: list[str]) -> None:
    gbnf = of_schema(schema)
    assert [text for text in yes if not admits(gbnf, text)] == []
    assert [text for text in no if admits(gbnf, text)] == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"not": {}}, ".not"),
        ({"type": "object", "properties": {"a": {"if": {}}}}, ".properties.a.if"),
        ({"type": "object", "patternProperties": {}}, ".patternProperties"),
        ({"type": "object", "propertyNames": {}}, ".propertyNames"),
        ({"type": "object", "minProperties": 1}, ".minProperties"),
        ({"type": "object", "dependentSchemas": {}}, ".dependentSchemas"),
        ({"type": "array", "items": {"contains": {}}}, ".items.contains"),
        ({"type": "array", "uniqueItems": True}, ".uniqueItems"),
        ({"type": "integer", "multipleOf": 3}, ".multipleOf"),
        ({"type": "number", "minimum": 0.5}, ".minimum"),
        ({"type": "string", "format": "hostname"}, ".format"),
        ({"type": "string", "pattern": "abc"}, ".pattern"),
        ({"type": "string", "pattern": "^(a*)+$"}, ".pattern"),
        ({"type": "string", "pattern": "^(a|b?){2,}$"}, ".pattern"),
        ({"type": "string", "pattern": "^a**$"}, ".pattern"),
        ({"type": "string", "pattern": "^(a$"}, ".pattern"),
        ({"type": "string", "pattern": "^*a$"}, ".pattern"),
        ({"type": "string", "pattern": "^a{x}$"}, ".pattern"),
        ({"type": "string", "pattern": "^[z-a]$"}, ".pattern"),
        ({"type": "string", "pattern": "^[[]$"}, ".pattern"),
        ({"type": "string", "pattern": "^[\\b]$"}, ".pattern"),
        ({"type": "string", "pattern": '^["]$'}, ".pattern"),
        ({"type": "string", "pattern": "^" + "(" * 20 + "a" + ")" * 20 + "$"}, ".pattern"),
        ({"type": "string", "pattern": 3}, ".pattern"),
        ({"type": "array", "prefixItems": {}}, ".prefixItems"),
        ({"type": "array", "prefixItems": [{}], "items": False, "minItems": 2}, ".minItems"),
        ({"$ref": 3}, ".$ref"),
        ({"x-note": 1, "type": "integer", "maximum": 10**18}, ".maximum"),
        ({"type": "number", "multipleOf": 0.1}, ".multipleOf"),
        ({"type": "string", "pattern": "^a{501}$"}, ".pattern"),
        ({"type": "string", "pattern": "^(?=a)$"}, ".pattern"),
        ({"type": "string", "pattern": "^(a)\\1$"}, ".pattern"),
        ({"type": "string", "pattern": "^a)|(b$"}, ".pattern"),
        ({"type": "string", "pattern": "^[a$"}, ".pattern"),
        ({"type": "string", "pattern": "^" + "a" * 300 + "$"}, ".pattern"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, ".pattern"),
        ({"type": "string", "minLength": 10**9}, ".minLength"),
        ({"type": "string", "minLength": 5, "maxLength": 3}, ".maxLength"),
        ({"type": "array", "minItems": True}, ".minItems"),
        ({"type": "array", "minItems": 5, "maxItems": 3}, ".maxItems"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, ""),
        ({"type": "number", "minimum": 5, "exclusiveMaximum": 5}, ""),
        ({"type": "text"}, ".type"),
        ({"type": []}, ".type"),
        ({"minimum": 1, "minLength": 3}, ".type"),
        ({"$ref": "https://example.org/schema"}, ".$ref"),
        ({"$ref": "#"}, ".$ref"),
        ({"$ref": "#/$defs/none"}, ".$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, ".$defs.a.$ref"),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}}, ".properties.next.$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {}}, "properties": {}}, ".properties"),
        ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, ".oneOf"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ".oneOf"),
        ({"anyOf": []}, ".anyOf"),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, ".allOf[0]"),
        (
            {"allOf": [{"properties": {"a": {}}}, {"properties": {"a": {"type": "null"}}}]},
            ".allOf[1].properties.a",
        ),
        ({"enum": list(range(1_001))}, ".enum"),
        ({"type": "string", "enum": [1, 2]}, ".enum"),
        ({"properties": []}, ".properties"),
        ({"required": "a"}, ".required"),
        ({"required": ["a"], "additionalProperties": False}, ".required"),
        ({"properties": {"a": False}}, ".properties.a"),
        (False, ""),
        ("string", ""),
        (None, ""),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_path(schema: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        of_schema(schema)
    assert refused.value.param == SCHEMA + path


def nested(depth: int) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(40),
        nested(100_000),
        {"properties": {f"p{n}": {} for n in range(1_000)}},
        {"enum": ["a" * 70_000]},
        {"enum": list(range(100_000))},
        {"type": "string", "pattern": "^((a{0,99}){0,99}){0,99}$"},
        {"const": float("nan")},
        {"const": "\ud800"},
        {
            "$defs": {
                f"d{n}": {"anyOf": [{"type": "array", "items": {"$ref": f"#/$defs/d{n + 1}"}}] * 2}
                for n in range(14)
            }
            | {"d14": {}},
            "$ref": "#/$defs/d0",
        },
        {
            "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(900)} | {"d900": {}},
            "$ref": "#/$defs/d0",
        },
        {
            "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        },
    ],
)
def test_a_schema_beyond_the_bounds_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest):
        of_schema(schema)


JSON_SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "null"},
            {"type": "boolean"},
            {"type": "integer", "minimum": -7, "maximum": 1234},
            {"type": "number", "minimum": -2},
            {"type": "string", "maxLength": 70},
            {"type": "string", "format": "date-time"},
            {"enum": ["a\\", 'b"', None]},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item, "minItems": 1, "maxItems": 3}, inner),
        st.builds(lambda items: {"anyOf": items}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda fields, needed: {
                "type": "object",
                "properties": fields,
                "required": [name for name in fields if name in needed],
            },
            st.dictionaries(st.text(max_size=4), inner, max_size=4),
            st.sets(st.text(max_size=4)),
        ),
    ),
    max_leaves=6,
)


def instance_of(value: Any, schema: Any) -> bool:
    """The few keywords of JSON_SCHEMAS, judged independently of the grammar."""
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(instance_of(value, branch) for branch in schema["anyOf"])
    kind = schema["type"]
    if kind == "object":
        fields = schema["properties"]
        return (
            isinstance(value, dict)
            and set(schema["required"]) <= set(value)
            and (
                not fields
                or all(name in fields and instance_of(item, fields[name]) for name, item in value.items())
            )
        )
    if kind == "array":
        return (
            isinstance(value, list)
            and 1 <= len(value) <= 3
            and all(instance_of(i, schema["items"]) for i in value)
        )
    if kind == "string":
        return isinstance(value, str) and len(value) <= 70
    if kind in {"integer", "number"}:
        types = (int,) if kind == "integer" else (int, float)
        bounds = schema.get("minimum", value), schema.get("maximum", value)
        return isinstance(value, types) and not isinstance(value, bool) and bounds[0] <= value <= bounds[1]
    return value is None if kind == "null" else isinstance(value, bool)


@settings(max_examples=25, deadline=None)
@given(schema=JSON_SCHEMAS, seed=st.integers(0, 1_000))
def test_whatever_the_grammar_lets_a_model_say_is_an_instance(schema: Any, seed: int) -> None:
    said = spoken(of_schema(schema), random.Random(seed))
    assert said is None or instance_of(json.loads(said), schema)
