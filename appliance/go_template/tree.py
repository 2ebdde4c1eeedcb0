"""What a Go template is made of. Values only; `parser.py` makes them, `printer.py` reads them.

A pipeline `a | f b` is kept as the call it means, `f b a`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

# ── expressions ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Dot:
    line: int


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    """With its `$`; `$` alone is what the template was started with."""
    line: int


@dataclass(frozen=True, slots=True)
class Access:
    """`of.name`."""

    of: Expression
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Constant:
    value: str | int | float | bool | None
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]
    line: int


Expression = Union[Dot, Variable, Access, Constant, Call]

# ── statements ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    value: Expression
    line: int


@dataclass(frozen=True, slots=True)
class Set:
    """`$name := value`, or `$name = value` when it is not new."""

    name: str
    value: Expression
    is_new: bool
    line: int


@dataclass(frozen=True, slots=True)
class If:
    branches: tuple[tuple[Expression, Body], ...]
    """if, else if, else if …"""
    orelse: Body
    line: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What a declaration in the head of `if` and `with` reaches: `body` and no further."""

    body: Body


@dataclass(frozen=True, slots=True)
class With:
    value: Expression
    name: str | None
    """A variable that holds the value too."""
    body: Body
    orelse: Body
    line: int


@dataclass(frozen=True, slots=True)
class Range:
    value: Expression
    index: str | None
    element: str | None
    body: Body
    orelse: Body
    line: int


@dataclass(frozen=True, slots=True)
class Break:
    line: int


@dataclass(frozen=True, slots=True)
class Continue:
    line: int


@dataclass(frozen=True, slots=True)
class Include:
    """`{{ template "name" value }}`."""

    name: str
    value: Expression | None
    line: int


Statement = Union[Text, Output, Set, If, Scope, With, Range, Break, Continue, Include]
Body = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Template:
    body: Body
    definitions: dict[str, Body]
    """By name, of `define` and `block`."""
    fields: frozenset[str]
    """Every field name that occurs, lower case; what Ollama tells a template's kind by."""
    assigned: frozenset[str]
    """Variables that some `=` changes."""
