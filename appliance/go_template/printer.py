"""Tree → Jinja. Every text comes out as a string in an expression, so nothing in it can be taken for Jinja
and no setting of the environment touches its blanks; variables live in a namespace, because Jinja's own `set`
does not outlive a loop's round.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from appliance.errors import TemplateInvalid
from appliance.go_template.functions import FUNCTIONS, Value, constant, literal, shown
from appliance.go_template.shapes import JSON, NOTHING, NUMBER, ROOTS, SCALARS, STRING, Shape
from appliance.go_template.tokens import invalid
from appliance.go_template.tree import (
    Access,
    Body,
    Break,
    Constant,
    Dot,
    Expression,
    If,
    Include,
    Output,
    Range,
    Scope,
    Set,
    Statement,
    Template,
    Text,
    Variable,
    With,
)

MAX_OUTPUT_CHARS: Final = 200_000
"""The engine takes templates of 256 KiB."""
_MAX_CODE_CHARS: Final = 20_000
"""Of one expression."""
_MAX_DEPTH: Final = 40
_MAX_LOOPS: Final = 12
_MAX_INCLUDES: Final = 500


class Printer:
    """Writes one template, once per way it is started. Lives inside one call of `to_jinja`."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._written: list[str] = []
        self._room = MAX_OUTPUT_CHARS
        self._names = 0
        self._includes = 0
        self._depth = 0
        self._loops = 0
        self._scopes: list[dict[str, Value]] = []
        self._dot = Value("", NOTHING)

    def print(self, body: Body, root: Shape) -> str:
        """Raises TemplateInvalid."""
        self._written = []
        self._dot = Value("", root)
        self._scopes = [{"$": self._dot}]
        self._body(body)
        return "".join(self._written)

    # ── statements ──────────────────────────────────────────────────────────────────────────

    def _write(self, piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise TemplateInvalid(reason="it becomes too large when its definitions are put in place")
        self._written.append(piece)

    def _body(self, body: Body) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Text(text):
                self._write(f"{{{{ {literal(text)} }}}}")
            case Output(value, line):
                self._write(f"{{{{ {shown(self._value(value), line)} }}}}")
            case Set():
                self._set(statement)
            case Scope(body):
                self._inside(body, self._dot)
            case If():
                self._if(statement)
            case With():
                self._with(statement)
            case Range():
                self._range(statement)
            case Include():
                self._include(statement)
            case Break():
                self._write("{% break %}")
            case _:  # Continue
                self._write("{% continue %}")

    def _inside(self, body: Body, dot: Value, names: dict[str, Value] | None = None) -> None:
        """A block of its own: what it declares ends with it."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateInvalid(reason=f"more than {_MAX_DEPTH} blocks stand in one another")
        outer, self._dot = self._dot, dot
        self._scopes.append({**self._scopes[-1], **(names or {})})
        self._body(body)
        self._scopes.pop()
        self._dot = outer
        self._depth -= 1

    def _set(self, statement: Set) -> None:
        value = self._value(statement.value)
        if statement.is_new:
            self._scopes[-1][statement.name] = self._kept(value, statement.name)
            return
        variable = self._scopes[-1][statement.name]
        if variable.shape is not value.shape and not (variable.shape is JSON and value.shape in SCALARS):
            raise invalid(
                statement.line,
                f"{statement.name} was {variable.shape.name} and becomes {value.shape.name}",
            )
        self._write(f"{{% set {variable.code} = {value.code} %}}")

    def _kept(self, value: Value, name: str | None = None) -> Value:
        """Evaluated now, under a name of its own."""
        if value.shape in ROOTS:
            return value
        kept = Value(f"go.v{self._next()}", value.shape)
        self._write(f"{{% set {kept.code} = {value.code} %}}")
        if name in self._template.assigned and value.shape in SCALARS:
            return replace(kept, shape=JSON)  # a later round of a loop may find another kind in it
        return kept

    def _next(self) -> int:
        self._names += 1
        return self._names

    def _if(self, statement: If) -> None:
        for index, (condition, body) in enumerate(statement.branches):
            self._write(f"{{% {'elif' if index else 'if'} {self._truth(condition)} %}}")
            self._inside(body, self._dot)
        self._orelse(statement.orelse)
        self._write("{% endif %}")

    def _orelse(self, body: Body) -> None:
        if body:
            self._write("{% else %}")
            self._inside(body, self._dot)

    def _truth(self, expression: Expression) -> str:
        value = self._value(expression)
        if value.shape in ROOTS or value.shape.name in _ALWAYS_TRUE:
            return "true"
        return value.code

    def _with(self, statement: With) -> None:
        value = self._kept(self._value(statement.value), statement.name)
        is_true = value.shape in ROOTS or value.shape.name in _ALWAYS_TRUE
        names = {statement.name: value} if statement.name else {}
        self._write(f"{{% if {'true' if is_true else value.code} %}}")
        self._inside(statement.body, value, names)
        if statement.orelse:
            self._write("{% else %}")
            self._inside(statement.orelse, self._dot, names)
        self._write("{% endif %}")

    # ── loops and definitions ───────────────────────────────────────────────────────────────

    def _range(self, statement: Range) -> None:
        self._loops += 1
        if self._loops > _MAX_LOOPS:
            raise invalid(statement.line, f"more than {_MAX_LOOPS} ranges stand in one another")
        value = self._value(statement.value)
        if statement.orelse:
            # Not Jinja's `for … else`: that one takes a loop left by `break` for an empty one.
            value = self._kept(value)
            self._write(f"{{% if {value.code}{' > 0' if value.shape is NUMBER else ''} %}}")
        number = self._next()
        index, element = f"go_i{number}", f"go_e{number}"
        self._write(self._loop_head(value, index, element, statement.line))
        shape = value.shape.element or value.shape.entry or (NUMBER if value.shape is NUMBER else JSON)
        dot = Value(element, shape)
        at = Value(index, STRING if value.shape.entry else JSON if value.shape is JSON else NUMBER)
        names: dict[str, Value] = {}
        for name, given in ((statement.index, at), (statement.element, dot)):
            if name:
                names[name] = self._kept(given, name) if name in self._template.assigned else given
        self._inside(statement.body, dot, names)
        self._write("{% endfor %}")
        self._loops -= 1
        if statement.orelse:
            self._orelse(statement.orelse)
            self._write("{% endif %}")

    def _loop_head(self, value: Value, index: str, element: str, line: int) -> str:
        if value.shape.entry:
            return f"{{% for {index}, {element} in {value.code} | dictsort(true) %}}"
        if value.shape.element:
            return f"{{% for {element} in {value.code} %}}{{% set {index} = loop.index0 %}}"
        if value.shape is NUMBER:
            return f"{{% for {element} in range({value.code}) %}}{{% set {index} = {element} %}}"
        if value.shape is not JSON:
            raise invalid(line, f"range over {value.shape.name} is not supported")
        kept = self._kept(value).code
        keys = f"{kept} | dictsort(true) | map('first')"
        return (
            f"{{% for {index} in ({keys} if {kept} is mapping else range(({kept} or []) | length)) %}}"
            f"{{% set {element} = {kept}[{index}] %}}"
        )

    def _include(self, statement: Include) -> None:
        body = self._template.definitions.get(statement.name)
        if body is None:
            raise invalid(statement.line, f"template {statement.name[:80]!r} is not defined")
        self._includes += 1
        if self._includes > _MAX_INCLUDES:
            raise invalid(statement.line, "definitions include one another without end, or too often")
        given = Value("none", NOTHING) if statement.value is None else self._value(statement.value)
        dot = given if given.shape is NOTHING else self._kept(given)
        self._scopes.append({})
        self._inside(body, dot, {"$": dot})
        self._scopes.pop()

    # ── expressions ─────────────────────────────────────────────────────────────────────────

    def _value(self, expression: Expression) -> Value:
        value = self._converted(expression)
        if len(value.code) > _MAX_CODE_CHARS:
            raise invalid(expression.line, "an expression is too long")
        return value

    def _converted(self, expression: Expression) -> Value:
        match expression:
            case Dot():
                return self._dot
            case Variable(name):
                return self._scopes[-1][name]
            case Access(of, name, line):
                return self._field(self._value(of), name, line)
            case Constant(value):
                return constant(value)
            case _:
                return self._call(expression.function, expression.arguments, expression.line)

    def _field(self, value: Value, name: str, line: int) -> Value:
        if value.shape is JSON:
            return Value(f"({value.code} or {{}}).get({literal(name)})", JSON)
        if value.shape.entry:
            return Value(f"({value.code}.get({literal(name)}) or {{}})", value.shape.entry)
        if name not in value.shape.fields:
            raise invalid(line, f"{value.shape.name} has no field {name[:80]}")
        code, shape = value.shape.fields[name]
        return Value(code.format(value.code), shape)

    def _call(self, function: str, arguments: tuple[Expression, ...], line: int) -> Value:
        values = [self._value(argument) for argument in arguments]
        if any(value.shape in ROOTS for value in values):
            raise invalid(line, f"{function} of the template's whole input is not supported")
        return FUNCTIONS[function](values, line)


_ALWAYS_TRUE: Final = frozenset(
    {
        "a message",
        "a property of a tool",
        "a tool",
        "a tool call",
        "a tool's function",
        "a tool's parameters",
        "the function of a call",
    }
)
"""Go's structs are true even when they are empty."""
