"""JSON Schema to GBNF: every text the grammar admits is an instance of the schema, or the schema is refused.
Pure.

llama.cpp's own converter drops keywords it does not know, turns what it cannot follow into "any JSON", and
writes broken grammars for names with quotes or backslashes; hence this one. Its contract is one-sided: what
is generated is valid, but not all that is valid can be generated: keys come in the schema's order, no
undeclared keys beside declared ones, compact JSON with at most one space after ',' and ':' (so that a small
model cannot run away in blanks).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from appliance.engine.grammar_text import GrammarText, literal
from appliance.engine.schema_keywords import (
    ANNOTATIONS,
    BY_TYPE,
    COMBINERS,
    KNOWN,
    MAX_DEPTH,
    MAX_ENUM,
    MAX_NODES,
    check_size,
    is_a,
)
from appliance.engine.schema_scalars import SCALARS, length_bound
from appliance.errors import InvalidRequest

_MAX_AMBIGUITY: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Part:
    """A rule, and in how many ways at once llama.cpp may have to read it."""

    name: str
    ambiguity: int = 1


def schema_rule(schema: Any, grammar: GrammarText, *, param: str) -> str:
    """Add the rules of `schema` to `grammar`; the name of its own. Raises InvalidRequest naming the keyword's
    path.
    """
    check_size(schema, param)
    return _Converter(schema, grammar, param).part(schema, param).name


class _Converter:
    """One schema. Owned by the thread that compiles."""

    def __init__(self, schema: Any, grammar: GrammarText, param: str) -> None:
        self._root = schema
        self._grammar = grammar
        self._param = param
        self._open_refs: set[str] = set()
        self._refs: dict[str, _Part] = {}
        self._depth = 0

    def _refuse(self, path: str, reason: str) -> NoReturn:
        raise InvalidRequest(reason=reason, param=path)

    # ── dispatch ─────────────────────────────────────────────────────────────────────────────────

    def part(self, schema: Any, path: str) -> _Part:
        if schema is True:
            return _Part(self._grammar.fixed("value"))
        if not isinstance(schema, dict):
            self._refuse(path, "false admits nothing" if schema is False else "a schema is an object")
        for keyword in schema:
            if keyword not in KNOWN and not keyword.startswith("x-"):
                self._refuse(f"{path}.{keyword}", "this JSON Schema keyword is not supported")
        if self._depth >= MAX_DEPTH:
            self._refuse(path, f"the schema is nested more than {MAX_DEPTH} deep, references followed")
        self._depth += 1
        combiner = next((word for word in COMBINERS if word in schema), None)
        part = self._typed(schema, path) if combiner is None else self._combined(schema, combiner, path)
        self._depth -= 1
        return part

    def _combined(self, schema: dict[str, Any], combiner: str, path: str) -> _Part:
        beside = {"type"} if combiner in {"const", "enum"} else set()
        for keyword in schema:
            if keyword != combiner and keyword not in ANNOTATIONS | beside and not keyword.startswith("x-"):
                self._refuse(f"{path}.{keyword}", f"not supported beside {combiner}")
        value = schema[combiner]
        if combiner == "$ref":
            return self._ref(value, f"{path}.$ref")
        if combiner == "const":
            return self._constants([value], schema, f"{path}.const")
        if not isinstance(value, list) or not value:
            self._refuse(f"{path}.{combiner}", "a list of at least one is expected")
        if combiner == "enum":
            return self._constants(value, schema, f"{path}.enum")
        if combiner == "allOf":
            return self._all_of(value, f"{path}.allOf")
        if combiner == "oneOf" and not self._exclusive(value, f"{path}.oneOf"):
            self._refuse(
                f"{path}.oneOf",
                "its branches may overlap; use anyOf, or a required const that tells them apart",
            )
        return self._union(
            [self.part(branch, f"{path}.{combiner}[{i}]") for i, branch in enumerate(value)], path
        )

    def _typed(self, schema: dict[str, Any], path: str) -> _Part:
        kinds = schema.get("type")
        if kinds is None:
            kinds = self._implied(schema, path)
            if kinds is None:
                return _Part(self._grammar.fixed("value"))
        names = kinds if isinstance(kinds, list) else [kinds]
        for name in names:
            if not isinstance(name, str) or name not in BY_TYPE:
                self._refuse(f"{path}.type", f"{name!r} is no JSON type")
        if not names:
            self._refuse(f"{path}.type", "a list of at least one is expected")
        return self._union([self._one_type(name, schema, path) for name in dict.fromkeys(names)], path)

    def _implied(self, schema: dict[str, Any], path: str) -> str | None:
        """The type that the keywords speak of, where none is named. Numbers' keywords imply `number`."""
        implied = [name for name, words in BY_TYPE.items() if name != "integer" and words & schema.keys()]
        if len(implied) > 1:
            self._refuse(f"{path}.type", f"is needed: the keywords speak of {' and '.join(implied)}")
        return implied[0] if implied else None

    def _one_type(self, name: str, schema: dict[str, Any], path: str) -> _Part:
        if name == "object":
            return self._object(schema, path)
        if name == "array":
            return self._array(schema, path)
        return _Part(SCALARS[name](schema, self._grammar, path))

    def _union(self, parts: list[_Part], path: str) -> _Part:
        if len(parts) == 1:
            return parts[0]
        ambiguity = sum(part.ambiguity for part in parts)
        if ambiguity > _MAX_AMBIGUITY:
            self._refuse(path, f"more than {_MAX_AMBIGUITY} alternatives may be open at once")
        return _Part(self._grammar.rule(" | ".join(dict.fromkeys(part.name for part in parts))), ambiguity)

    # ── references and combinations ──────────────────────────────────────────────────────────────

    def _target(self, ref: Any, path: str) -> Any:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            self._refuse(path, "only references inside the schema ('#/…') are followed")
        target = self._root
        for step in ref.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and key.isascii() and key.isdigit() and int(key[:6]) < len(target):
                target = target[int(key[:6])]
            elif isinstance(target, dict) and key in target:
                target = target[key]
            else:
                self._refuse(path, f"{ref!r} leads nowhere")
        return target

    def _ref(self, ref: Any, path: str) -> _Part:
        target = self._target(ref, path)
        if ref in self._open_refs or ref == "#":
            self._refuse(path, f"{ref!r} contains itself; recursive schemas are not supported")
        if ref not in self._refs:
            self._open_refs.add(ref)
            steps = [self._param, *ref.split("/")[1:]]
            self._refs[ref] = self.part(target, ".".join(steps))
            self._open_refs.discard(ref)
        return self._refs[ref]

    def _resolved(self, schema: Any, path: str) -> Any:
        """Follow `$ref`s that stand alone, at most as many as there may be nodes."""
        for _ in range(MAX_NODES):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            schema = self._target(schema["$ref"], f"{path}.$ref")
        return self._refuse(path, "its references run in a circle")

    def _all_of(self, branches: list[Any], path: str) -> _Part:
        """One branch is that branch; several plain object schemas are merged."""
        if len(branches) == 1:
            return self.part(branches[0], f"{path}[0]")
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        for i, branch in enumerate(branches):
            schema = self._resolved(branch, f"{path}[{i}]")
            extra = (
                set(schema) - ANNOTATIONS - {"type", "properties", "required"}
                if isinstance(schema, dict)
                else {""}
            )
            if extra or schema.get("type", "object") != "object":
                self._refuse(f"{path}[{i}]", "only objects with properties and required can be combined")
            for name, value in self._members(schema, f"{path}[{i}]").items():
                if merged["properties"].setdefault(name, value) != value:
                    self._refuse(f"{path}[{i}].properties.{name}", "is declared twice with different schemas")
            merged["required"] += self._required(schema, f"{path}[{i}]")
        return self._object(merged, path)

    def _exclusive(self, branches: list[Any], path: str) -> bool:
        schemas = [self._resolved(branch, f"{path}[{i}]") for i, branch in enumerate(branches)]
        if not all(isinstance(schema, dict) for schema in schemas):
            return len(schemas) == 1
        types = [schema.get("type") for schema in schemas]
        distinct = all(isinstance(name, str) for name in types) and len(set(types)) == len(types)
        if distinct and not {"integer", "number"} <= set(types):
            return True
        shared = set.intersection(*(set(self._tags(schema)) for schema in schemas))
        return any(self._disjoint([self._tags(schema)[name] for schema in schemas]) for name in shared)

    def _tags(self, schema: dict[str, Any]) -> dict[str, list[str]]:
        """Required properties that are constants, with their values as JSON."""
        tags: dict[str, list[str]] = {}
        required = schema.get("required")
        for name, value in (schema.get("properties") or {}).items():
            if isinstance(required, list) and name in required and isinstance(value, dict):
                values = [value["const"]] if "const" in value else value.get("enum")
                if isinstance(values, list):
                    tags[name] = [json.dumps(constant, sort_keys=True) for constant in values]
        return tags

    def _disjoint(self, groups: list[list[str]]) -> bool:
        return len(set().union(*groups)) == sum(len(set(group)) for group in groups)

    def _constants(self, values: list[Any], schema: dict[str, Any], path: str) -> _Part:
        if len(values) > MAX_ENUM:
            self._refuse(path, f"has {len(values)} values, the limit is {MAX_ENUM}")
        kinds = schema.get("type")
        if kinds is not None:
            names = kinds if isinstance(kinds, list) else [kinds]
            values = [value for value in values if any(is_a(value, name) for name in names)]
        if not values:
            self._refuse(path, "none of its values has the declared type")
        texts = dict.fromkeys(
            json.dumps(value, ensure_ascii=False, separators=(", ", ": ")) for value in values
        )
        return _Part(self._grammar.rule(" | ".join(literal(text) for text in texts)), 1)

    # ── one type each ────────────────────────────────────────────────────────────────────────────

    def _members(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            self._refuse(f"{path}.properties", "an object is expected")
        return properties

    def _required(self, schema: dict[str, Any], path: str) -> list[str]:
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            self._refuse(f"{path}.required", "a list of names is expected")
        return required

    def _object(self, schema: dict[str, Any], path: str) -> _Part:
        properties = dict(self._members(schema, path))
        required = self._required(schema, path)
        others = schema.get("additionalProperties", True)
        for name in required:
            if name not in properties:
                if others is False:
                    self._refuse(f"{path}.required", f"{name!r} is required but not allowed")
                properties[name] = others
        if properties:
            if isinstance(others, dict):
                self.part(
                    others, f"{path}.additionalProperties"
                )  # unused, but what we cannot honour is refused
            return self._closed_object(properties, set(required), path)
        if others is False:
            return _Part(self._grammar.rule('"{}"'))
        if others is True:
            return _Part(self._grammar.fixed("object"))
        value = self.part(others, f"{path}.additionalProperties")
        member = self._grammar.rule(
            f'{self._grammar.fixed("string")} ":" {self._grammar.fixed("ws")} {value.name}'
        )
        return _Part(self._grammar.rule(f'"{{" ({member} ("," ws {member})*)? "}}"'), value.ambiguity)

    def _closed_object(self, properties: dict[str, Any], required: set[str], path: str) -> _Part:
        """Right to left: what may follow once a key was written (`more`), and while none was (`first`)."""
        rule, ws = self._grammar.rule, self._grammar.fixed("ws")
        first, more, ambiguity = "", "", 1
        for name, schema in reversed(properties.items()):
            value = self.part(schema, f"{path}.properties.{name}")
            ambiguity = max(ambiguity, value.ambiguity)
            key = json.dumps(name, ensure_ascii=False)
            member = rule(f"{literal(key + ':')} {ws} {value.name}")
            after = f" {more}" if more else ""
            if name in required:
                first, more = rule(f"{member}{after}"), rule(f'"," {ws} {member}{after}')
            else:
                first = rule(f"{member}{after} | {first}" if first else f"({member}{after})?")
                more = rule(f'("," {ws} {member})?{after}')
        return _Part(rule(f'"{{" {first} "}}"'), ambiguity)

    def _array(self, schema: dict[str, Any], path: str) -> _Part:
        if schema.get("uniqueItems") not in {None, False}:
            self._refuse(f"{path}.uniqueItems", "this JSON Schema keyword is not supported")
        items = schema.get("items", True)
        ahead = schema.get("prefixItems", items if isinstance(items, list) else [])
        if not isinstance(ahead, list):
            self._refuse(f"{path}.prefixItems", "a list is expected")
        low = length_bound(schema, "minItems", path) or 0
        high = length_bound(schema, "maxItems", path)
        if isinstance(items, list):
            items = True
        if high is not None and high < max(low, len(ahead)):
            self._refuse(f"{path}.maxItems", "is less than the array must have")
        parts = [self.part(item, f"{path}.prefixItems[{i}]") for i, item in enumerate(ahead)]
        if ahead and (low <= len(ahead) or items is False):
            if low > len(ahead):
                self._refuse(f"{path}.minItems", "is more than the array may have")
            return self._tuple(parts)
        if items is False or high == 0:
            return _Part(self._grammar.rule('"[]"'))
        return self._list(parts, self.part(items, f"{path}.items"), (low, high))

    def _tuple(self, parts: list[_Part]) -> _Part:
        ws = self._grammar.fixed("ws")
        body = f' "," {ws} '.join(part.name for part in parts)
        return _Part(self._grammar.rule(f'"[" {body} "]"'), max(part.ambiguity for part in parts))

    def _list(self, ahead: list[_Part], item: _Part, bounds: tuple[int, int | None]) -> _Part:
        low, high = bounds
        ws = self._grammar.fixed("ws")
        following = self._grammar.rule(f'"," {ws} {item.name}')
        lead = f' "," {ws} '.join(part.name for part in ahead) if ahead else item.name
        led = len(ahead) or 1
        rest = self._grammar.repeat(following, max(0, low - led), None if high is None else high - led)
        body = f"{lead} {rest}".strip()
        ambiguity = max(part.ambiguity for part in [*ahead, item])
        return _Part(
            self._grammar.rule(f'"[" {body} "]"' if low or ahead else f'"[" ({body})? "]"'), ambiguity
        )
