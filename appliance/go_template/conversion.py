"""One Go template → one Jinja template for our renderer, as Ollama would run it.

A template that names `.Messages` is run once over all of them. Any other is run once for each exchange (a
system text, a prompt, a response) and the texts are joined; of the last exchange, what follows `.Response` is
the model's to write and is cut off. A template that names neither gets `{{ .Response }}` at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.go_template import prelude, shapes
from appliance.go_template.parser import parse
from appliance.go_template.printer import Printer
from appliance.go_template.tree import (
    Access,
    Body,
    Call,
    Dot,
    Expression,
    If,
    Output,
    Range,
    Scope,
    Set,
    Statement,
    Template,
    With,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a template's words say of its model."""

    tools: bool
    insert: bool
    """Fill-in-middle."""
    thinking: bool


def to_jinja(text: str) -> str:
    """Raises TemplateInvalid with the line and what cannot be converted."""
    template = parse(text)
    printer = Printer(template)
    if template.fields & {"messages", "document"}:
        converted = prelude.CONVERSATION + printer.print(template.body, shapes.CONVERSATION)
    else:
        body = _with_response(template)
        whole = printer.print(body, shapes.EXCHANGE)
        last = printer.print(_cut(body)[0], shapes.EXCHANGE)
        converted = (
            f"{prelude.EXCHANGES}{{% for go_x in go.exchanges %}}{{% if loop.last %}}{last}"
            f"{{% else %}}{whole}{{% endif %}}{{% endfor %}}"
        )
    macros = "".join(macro for name, macro in prelude.MACROS.items() if f"{name}(" in converted)
    return macros + converted


def recognise(text: str) -> Capabilities:
    """Raises TemplateInvalid as `to_jinja` does for what it cannot read."""
    fields = parse(text).fields
    return Capabilities(
        tools="tools" in fields,
        insert="suffix" in fields,
        thinking=bool(fields & {"think", "thinking", "thinklevel"}),
    )


def _with_response(template: Template) -> Body:
    if "response" in template.fields:
        return template.body
    return (*template.body, Output(Access(Dot(0), "Response", 0), 0))


def _cut(body: Body) -> tuple[Body, bool]:
    """The body up to its first `.Response`, and whether there is one."""
    kept: list[Statement] = []
    for statement in body:
        shortened, found = _cut_statement(statement)
        kept.append(shortened)
        if found:
            return tuple(kept), True
    return tuple(kept), False


def _cut_statement(statement: Statement) -> tuple[Statement, bool]:
    match statement:
        case Output(value) | Set(_, value):
            return statement, _shows_response(value)
        case Scope(body):
            body, found = _cut(body)
            return Scope(body), found
        case If(branches, orelse):
            cut = [_cut(body) for _, body in branches]
            orelse, found = _cut(orelse)
            conditions = [condition for condition, _ in branches]
            shorter = tuple(zip(conditions, (body for body, _ in cut), strict=True))
            return replace(statement, branches=shorter, orelse=orelse), found or any(hit for _, hit in cut)
        case With() | Range():
            body, in_body = _cut(statement.body)
            orelse, in_orelse = _cut(statement.orelse)
            return replace(statement, body=body, orelse=orelse), in_body or in_orelse
    return statement, False


def _shows_response(expression: Expression) -> bool:
    match expression:
        case Access(Dot(), "Response"):
            return True
        case Access(of):
            return _shows_response(of)
        case Call(_, arguments):
            return any(_shows_response(argument) for argument in arguments)
    return False
