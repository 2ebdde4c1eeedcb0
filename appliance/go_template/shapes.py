"""What a Go value is, and how Jinja reaches into it. Go templates name struct fields (`.Function.Name`), our
renderer has JSON (`function.name`): the shape of each expression is known while converting and says which is
which. Facts only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

Fields = Mapping[str, tuple[str, "Shape"]]
_NO_FIELDS: Final[Fields] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """Compared by identity: each shape is made once, below."""

    name: str
    """As a message names it."""
    fields: Fields = field(default_factory=lambda: _NO_FIELDS)
    """Go's field → the Jinja expression of it, `{}` standing for the value, and its shape. Every expression
    gives Go's zero value where the JSON has nothing.
    """
    element: Shape | None = None
    """Of a list."""
    entry: Shape | None = None
    """Of a map."""
    shown: str | None = None
    """The Jinja expression of what `{{ . }}` prints; None: Go would print its own insides."""
    is_json: bool = False
    """`json` may be asked of it: it is JSON here too, not our own dictionary."""


_SHOWN_JSON: Final = "({} | tojson(separators=(',', ':')))"

STRING: Final = Shape(name="text", shown="{}", is_json=True)
NUMBER: Final = Shape(name="a number", shown="{}", is_json=True)
BOOL: Final = Shape(name="true or false", shown="('true' if {} else 'false')", is_json=True)
NOTHING: Final = Shape(name="nil", shown="''", is_json=True)
JSON: Final = Shape(name="a JSON value", shown="go_text({})", is_json=True)
"""Anything, known at run time only."""
SCALARS: Final = (STRING, NUMBER, BOOL, NOTHING, JSON)

TEXTS: Final = Shape(
    name="a list of texts", element=STRING, shown="('[' ~ ({} | join(' ')) ~ ']')", is_json=True
)
TYPE: Final = Shape(
    name="a property's type",
    element=STRING,
    shown="go_type({})",
    is_json=True,
)
"""A list of texts that prints as its only one."""

_PROPERTY_FIELDS: dict[str, tuple[str, Shape]] = {}
PROPERTY: Final = Shape(name="a property of a tool", fields=_PROPERTY_FIELDS, shown=_SHOWN_JSON, is_json=True)
PROPERTIES: Final = Shape(name="a tool's properties", entry=PROPERTY, shown=_SHOWN_JSON, is_json=True)
_PROPERTY_FIELDS.update(
    {
        "AnyOf": (
            "({}.get('anyOf') or [])",
            Shape(name="a list of properties", element=PROPERTY, shown=_SHOWN_JSON, is_json=True),
        ),
        "Type": (
            "([{0}.get('type')] if {0}.get('type') is string else {0}.get('type') or [])",
            TYPE,
        ),
        "Items": ("{}.get('items')", JSON),
        "Description": ("({}.get('description') or '')", STRING),
        "Enum": ("({}.get('enum') or [])", JSON),
        "Properties": ("({}.get('properties') or {{}})", PROPERTIES),
        "Required": ("({}.get('required') or [])", TEXTS),
    }
)

PARAMETERS: Final = Shape(
    name="a tool's parameters",
    fields={
        "Type": ("({}.get('type') or '')", STRING),
        "Defs": ("{}.get('$defs')", JSON),
        "Items": ("{}.get('items')", JSON),
        "Required": ("({}.get('required') or [])", TEXTS),
        "Properties": ("({}.get('properties') or {{}})", PROPERTIES),
    },
    shown=_SHOWN_JSON,
    is_json=True,
)
FUNCTION: Final = Shape(
    name="a tool's function",
    fields={
        "Name": ("({}.get('name') or '')", STRING),
        "Description": ("({}.get('description') or '')", STRING),
        "Parameters": ("({}.get('parameters') or {{}})", PARAMETERS),
    },
    shown=_SHOWN_JSON,
    is_json=True,
)
TOOL: Final = Shape(
    name="a tool",
    fields={
        "Type": ("({}.get('type') or '')", STRING),
        "Items": ("{}.get('items')", JSON),
        "Function": ("({}.get('function') or {{}})", FUNCTION),
    },
    shown=_SHOWN_JSON,
    is_json=True,
)
TOOLS: Final = Shape(name="the tools", element=TOOL, shown=_SHOWN_JSON, is_json=True)

CALLED: Final = Shape(
    name="the function of a call",
    fields={
        "Name": ("({}.get('name') or '')", STRING),
        "Arguments": ("({}.get('arguments') or {{}})", JSON),
    },
    is_json=True,
)
CALL: Final = Shape(
    name="a tool call",
    fields={
        "ID": ("({}.get('id') or '')", STRING),
        "Function": ("({}.get('function') or {{}})", CALLED),
    },
    is_json=True,
)
CALLS: Final = Shape(name="the tool calls", element=CALL, is_json=True)

MESSAGE: Final = Shape(
    name="a message",
    fields={
        "Role": ("{}['Role']", STRING),
        "Content": ("{}['Content']", STRING),
        "Thinking": ("{}['Thinking']", STRING),
        "Images": ("[]", JSON),
        "ToolCalls": ("{}['ToolCalls']", CALLS),
        "ToolName": ("{}['ToolName']", STRING),
        "ToolCallID": ("{}['ToolCallID']", STRING),
    },
)
MESSAGES: Final = Shape(name="the messages", element=MESSAGE)

_THINKING: Final[Fields] = {
    "Think": ("(enable_thinking | default(true))", BOOL),
    "ThinkLevel": ("(reasoning_effort | default('', true))", STRING),
    "IsThinkSet": ("true", BOOL),
}
_ABSENT: Final[Fields] = dict.fromkeys(("Suffix", "Query", "Document", "Instruction"), ("''", STRING))

CONVERSATION: Final = Shape(
    name="the template's input",
    fields={
        **_THINKING,
        **_ABSENT,
        "Messages": ("go.messages", MESSAGES),
        "System": ("go.system", STRING),
        "Tools": ("(tools or [])", TOOLS),
        "Prompt": ("''", STRING),
        "Response": ("''", STRING),
    },
)
"""What a template that shows `.Messages` is started with, once."""

EXCHANGE: Final = Shape(
    name="the template's input",
    fields={
        **_THINKING,
        **_ABSENT,
        "Tools": ("[]", TOOLS),
        "System": ("go_x['System']", STRING),
        "Prompt": ("go_x['Prompt']", STRING),
        "Response": ("go_x['Response']", STRING),
    },
)
"""What any other template is started with, once for each exchange."""

ROOTS: Final = (CONVERSATION, EXCHANGE)
