"""Strings, numbers, booleans and null of a JSON Schema, as GBNF. Pure; part of `schema_grammar.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from appliance.engine.grammar_text import GrammarText
from appliance.engine.number_grammar import MAX_DIGITS, integer_body, number_body
from appliance.engine.regex_grammar import pattern_body
from appliance.errors import InvalidRequest

_MAX_LENGTH: Final = 100_000
_DATE: Final = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
_TIME: Final = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? '
    '("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_OCTET: Final = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9]? [0-9])'
_HEX: Final = "[0-9a-f]"
_FORMATS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
    "ipv4": f'{_OCTET} "." {_OCTET} "." {_OCTET} "." {_OCTET}',
    "email": '[a-zA-Z0-9]{1,32} ([._+-] [a-zA-Z0-9]{1,32}){0,4} "@" '
    "[a-zA-Z0-9]{1,32} ([.-] [a-zA-Z0-9]{1,32}){0,3} "
    '"." [a-zA-Z]{2,12}',
}
"""Days end at 28, so that no month is wronged."""

Schema = dict[str, Any]


def length_bound(schema: Schema, word: str, path: str) -> int | None:
    """A count such as `maxItems`; None where the schema has none. Raises InvalidRequest."""
    value = schema.get(word)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_LENGTH:
        _refuse(f"{path}.{word}", f"a whole number from 0 to {_MAX_LENGTH} is expected")
    return value


def _refuse(path: str, reason: str) -> NoReturn:
    raise InvalidRequest(reason=reason, param=path)


def _string(schema: Schema, grammar: GrammarText, path: str) -> str:
    low = length_bound(schema, "minLength", path)
    high = length_bound(schema, "maxLength", path)
    special = [word for word in ("pattern", "format") if word in schema]
    if special and (len(special) > 1 or low or high is not None):
        _refuse(f"{path}.{special[0]}", "not supported together with another bound of the string")
    if special:
        body = _pattern(schema, path) if special == ["pattern"] else _format(schema, path)
    elif not low and high is None:
        return grammar.fixed("string")
    elif high is not None and high < (low or 0):
        _refuse(f"{path}.maxLength", "is less than minLength")
    else:
        body = grammar.repeat(grammar.fixed("char"), low or 0, high)
    return grammar.rule(f'"\\"" {body} "\\""')


def _pattern(schema: Schema, path: str) -> str:
    return pattern_body(schema["pattern"], param=f"{path}.pattern")


def _format(schema: Schema, path: str) -> str:
    name = schema["format"]
    if not isinstance(name, str) or name not in _FORMATS:
        _refuse(f"{path}.format", f"only {', '.join(_FORMATS)} are supported")
    return _FORMATS[name]


def _integer(schema: Schema, grammar: GrammarText, path: str) -> str:
    if schema.get("multipleOf", 1) != 1:
        _refuse(f"{path}.multipleOf", "this JSON Schema keyword is not supported")
    low, high, above, below = _limits(schema, path)
    lows = [value for value in (low, None if above is None else above + 1) if value is not None]
    highs = [value for value in (high, None if below is None else below - 1) if value is not None]
    if not lows and not highs:
        return grammar.fixed("integer")
    if lows and highs and max(lows) > min(highs):
        _refuse(path, "no integer lies between its bounds")
    return grammar.rule(integer_body(max(lows, default=None), min(highs, default=None)))


def _number(schema: Schema, grammar: GrammarText, path: str) -> str:
    if schema.get("multipleOf") is not None:
        _refuse(f"{path}.multipleOf", "this JSON Schema keyword is not supported for numbers")
    low, high, above, below = _limits(schema, path)
    floor = max((value for value in (low, above) if value is not None), default=None)
    ceiling = min((value for value in (high, below) if value is not None), default=None)
    if floor is None and ceiling is None:
        return grammar.fixed("number")
    body = None
    if floor is None or ceiling is None or floor <= ceiling:
        body = number_body(floor, ceiling, above=floor == above, below=ceiling == below)
    if body is None:
        _refuse(path, "no number lies between its bounds")
    return grammar.rule(body)


def _limits(schema: Schema, path: str) -> tuple[int | None, int | None, int | None, int | None]:
    low, high, above, below = (
        _limit(schema, word, path) for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    )
    return low, high, above, below


def _limit(schema: Schema, word: str, path: str) -> int | None:
    value = schema.get(word)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 10**MAX_DIGITS:
        _refuse(f"{path}.{word}", f"a whole number of at most {MAX_DIGITS} digits is expected")
    return value


SCALARS: Final[dict[str, Callable[[Schema, GrammarText, str], str]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _schema, grammar, _path: grammar.rule('"true" | "false"'),
    "null": lambda _schema, grammar, _path: grammar.rule('"null"'),
}
"""By JSON type: adds the rules and returns the name of the outermost."""
