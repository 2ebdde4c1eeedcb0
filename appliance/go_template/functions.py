"""Go's functions, as Jinja expressions. Each takes converted arguments and gives a converted value, or says
what it cannot do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.errors import TemplateInvalid
from appliance.go_template.shapes import BOOL, JSON, NOTHING, NUMBER, SCALARS, STRING, Shape
from appliance.go_template.tokens import invalid


@dataclass(frozen=True, slots=True)
class Value:
    """A Jinja expression that may stand before `.` and `[`, or as an argument."""

    code: str
    shape: Shape
    constant: str | int | float | bool | None = None
    """What it is, where the template wrote it out; None for nil, too."""


Values = Sequence[Value]
Function = Callable[[Values, int], Value]

_EMPTY: Final = "''"
_VERB: Final = re.compile(r"%(.?)", re.DOTALL)


def literal(text: str) -> str:
    """A Jinja string. Nothing in it can end it, or be taken for Jinja."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(_escaped(char) for char in escaped) + "'"


def _escaped(char: str) -> str:
    if char == "\n":
        return "\\n"
    return char if char >= " " and char != "\x7f" else f"\\x{ord(char):02x}"


def shown(value: Value, line: int) -> str:
    """The expression of the text that Go prints."""
    if value.shape.shown is None:
        raise invalid(line, f"{value.shape.name} is no text to print")
    return value.shape.shown.format(value.code)


def _text(value: Value, line: int) -> str:
    return f"({shown(value, line)})"


def _wrong_count(name: str, line: int) -> TemplateInvalid:
    return invalid(line, f"wrong number of arguments for {name}")


def _joined(operator: str) -> Function:
    def function(arguments: Values, line: int) -> Value:
        if not arguments:
            raise _wrong_count(operator, line)
        shapes = {argument.shape for argument in arguments}
        shape = arguments[0].shape if len(shapes) == 1 else JSON
        if len(shapes) > 1 and not shapes.issubset(SCALARS):
            # Its truth is all that can be asked of such a mixture.
            shape = Shape(name=f"the result of {operator}")
        return Value(f"({f' {operator} '.join(argument.code for argument in arguments)})", shape)

    return function


def _not(arguments: Values, line: int) -> Value:
    if len(arguments) != 1:
        raise _wrong_count("not", line)
    return Value(f"(not {arguments[0].code})", BOOL)


def _eq(arguments: Values, line: int) -> Value:
    if len(arguments) < 2:
        raise _wrong_count("eq", line)
    first, *others = (_comparable(argument, line) for argument in arguments)
    return Value("(" + " or ".join(f"{first} == {other}" for other in others) + ")", BOOL)


def _comparable(value: Value, line: int) -> str:
    if value.shape not in SCALARS:
        raise invalid(line, f"{value.shape.name} cannot be compared")
    return value.code


def _comparison(operator: str) -> Function:
    def function(arguments: Values, line: int) -> Value:
        if len(arguments) != 2:
            raise _wrong_count(operator, line)
        left, right = (_comparable(argument, line) for argument in arguments)
        return Value(f"({left} {operator} {right})", BOOL)

    return function


def _len(arguments: Values, line: int) -> Value:
    if len(arguments) != 1:
        raise _wrong_count("len", line)
    (value,) = arguments
    if value.shape is STRING:  # Go counts bytes
        return Value(f"({value.code}.encode() | length)", NUMBER)
    if value.shape is not JSON and value.shape.element is None and value.shape.entry is None:
        raise invalid(line, f"len of {value.shape.name} is not supported")
    return Value(f"(({value.code} or []) | length)", NUMBER)


def _index(arguments: Values, line: int) -> Value:
    if len(arguments) < 1:
        raise _wrong_count("index", line)
    value, *keys = arguments
    for key in keys:
        value = _at(value, key, line)
    return value


def _at(value: Value, key: Value, line: int) -> Value:
    if value.shape.entry is not None:
        return Value(f"({value.code}.get({key.code}) or {{}})", value.shape.entry)
    if value.shape.element is not None and key.shape in {NUMBER, JSON}:
        return Value(f"{value.code}[{key.code}]", value.shape.element)
    if value.shape is JSON and key.shape is STRING:
        return Value(f"({value.code} or {{}}).get({key.code})", JSON)
    if value.shape is JSON and key.shape is NUMBER:
        return Value(f"({value.code} or [])[{key.code}]", JSON)
    raise invalid(line, f"index of {value.shape.name} is not supported")


def _slice(arguments: Values, line: int) -> Value:
    if not 1 <= len(arguments) <= 3:
        raise _wrong_count("slice", line)
    value, *bounds = arguments
    between = ":".join(bound.code for bound in bounds) + (":" if len(bounds) < 2 else "")
    if value.shape is STRING:  # Go counts bytes
        return Value(f"{value.code}.encode()[{between}].decode('utf-8', 'replace')", STRING)
    if value.shape.element is None and value.shape is not JSON:
        raise invalid(line, f"slice of {value.shape.name} is not supported")
    return Value(f"({value.code} or [])[{between}]", value.shape)


def _json(arguments: Values, line: int) -> Value:
    if len(arguments) != 1:
        raise _wrong_count("json", line)
    (value,) = arguments
    if not value.shape.is_json:
        raise invalid(line, f"json of {value.shape.name} is not supported")
    return Value(f"({value.code} | tojson(separators=(',', ':')))", STRING)


def _print(arguments: Values, line: int) -> Value:
    pieces: list[str] = []
    for previous, value in zip((None, *arguments), arguments, strict=False):
        if previous is not None:
            pieces.append(_between(previous, value))
        pieces.append(_text(value, line))
    return _concatenated(pieces)


def _between(left: Value, right: Value) -> str:
    """Go's `print` puts a blank between neighbours of which neither is a string."""
    if STRING in {left.shape, right.shape}:
        return _EMPTY
    unknown = [f"{value.code} is string" for value in (left, right) if value.shape is JSON]
    return f"('' if {' or '.join(unknown)} else ' ')" if unknown else "' '"


def _println(arguments: Values, line: int) -> Value:
    pieces = [piece for value in arguments for piece in (_text(value, line), "' '")][:-1]
    return _concatenated([*pieces, "'\\n'"])


def _printf(arguments: Values, line: int) -> Value:
    if not arguments or not isinstance(arguments[0].constant, str):
        raise invalid(line, "printf takes a format that is written out")
    pieces: list[str] = []
    rest = list(arguments[1:])
    at = 0
    template = arguments[0].constant
    for verb in _VERB.finditer(template):
        pieces.append(literal(template[at : verb.start()]))
        at = verb.end()
        pieces.append(_formatted(verb[1], rest, line))
    if rest:
        raise invalid(line, "printf has more values than its format names")
    return _concatenated([*pieces, literal(template[at:])])


def _formatted(verb: str, rest: list[Value], line: int) -> str:
    if verb == "%":
        return "'%'"
    if verb not in set("sdvtq"):
        raise invalid(line, f"printf's %{verb} is not supported")
    if not rest:
        raise invalid(line, "printf has fewer values than its format names")
    value = rest.pop(0)
    return f"({value.code} | tojson)" if verb == "q" and value.shape is STRING else _text(value, line)


def _concatenated(pieces: Sequence[str]) -> Value:
    return Value(f"({' ~ '.join((_EMPTY, *pieces))})" if pieces else _EMPTY, STRING)


def _told(code: str) -> Function:
    """A text that does not depend on arguments; Ollama ignores those of its date functions."""
    return lambda arguments, line: Value(code, STRING)  # noqa: ARG005  # a Function


def _typescript(arguments: Values, line: int) -> Value:
    if len(arguments) != 1:
        raise _wrong_count("toTypeScriptType", line)
    if "AnyOf" not in arguments[0].shape.fields:
        return Value("'any'", STRING)
    return Value(f"go_typescript({arguments[0].code})", STRING)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "and": _joined("and"),
    "or": _joined("or"),
    "not": _not,
    "eq": _eq,
    "ne": _comparison("!="),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "json": _json,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "currentDate": _told("strftime_now('%Y-%m-%d')"),
    "yesterdayDate": _told("go_yesterday()"),
    "toTypeScriptType": _typescript,
}
GO_ONLY: Final = frozenset({"call", "html", "js", "urlquery"})
"""Go has them; no prompt needs them."""


def constant(value: str | float | bool | None) -> Value:  # noqa: FBT001  # one of Go's constants
    if value is None:
        return Value("none", NOTHING)
    if isinstance(value, bool):
        return Value("true" if value else "false", BOOL, value)
    if isinstance(value, str):
        return Value(literal(value), STRING, value)
    return Value(f"({value!r})", NUMBER, value)
