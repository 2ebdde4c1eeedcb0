"""The Jinja that stands before a converted template: it brings our renderer's `messages` into the form that
Ollama hands to a template, and holds the macros that stand for Go's printing.

Nothing here holds a line end between tags, so that no setting of `trim_blocks` matters.
"""

from __future__ import annotations

from typing import Final

_COLLATE: Final = (
    "{% set go = namespace(system=[], messages=[], names={}, exchanges=[], prompt='', response='') %}"
    "{% for go_m in messages %}"
    "{% for go_c in go_m.tool_calls or [] if go_c.id is string %}"
    "{% set go.names = dict(go.names, **{go_c.id: (go_c.function or {}).name or ''}) %}"
    "{% endfor %}"
    "{% if go_m.role == 'system' %}{% set go.system = go.system + [go_m.content] %}{% endif %}"
    "{% if go.messages and go.messages[-1].Role == go_m.role and go_m.role != 'tool' %}"
    "{% set go.messages = go.messages[:-1] + [dict(go.messages[-1],"
    " Content=go.messages[-1].Content ~ '\\n\\n' ~ go_m.content,"
    " ToolCalls=go.messages[-1].ToolCalls + (go_m.tool_calls or []))] %}"
    "{% else %}"
    "{% set go.messages = go.messages + [{'Role': go_m.role, 'Content': go_m.content,"
    " 'Thinking': go_m.reasoning_content or '', 'ToolCalls': go_m.tool_calls or [],"
    " 'ToolCallID': go_m.tool_call_id or '',"
    " 'ToolName': go_m.name or go.names.get(go_m.tool_call_id) or ''}] %}"
    "{% endif %}{% endfor %}"
)
"""Neighbours of one role become one message; every system text is also gathered apart. Unlike Ollama we keep
the calls of a message that is merged into the one before it.
"""

_FLUSH: Final = (
    "{% set go.exchanges = go.exchanges"
    " + [{'System': go.system, 'Prompt': go.prompt, 'Response': go.response}] %}"
    "{% set go.system = '' %}{% set go.prompt = '' %}{% set go.response = '' %}"
)

CONVERSATION: Final = _COLLATE + "{% set go.system = go.system | join('\\n\\n') %}"

EXCHANGES: Final = (
    _COLLATE + "{% set go.system = '' %}"
    "{% for go_m in go.messages %}"
    "{% if go_m.Role == 'system' %}"
    "{% if go.prompt or go.response %}" + _FLUSH + "{% endif %}{% set go.system = go_m.Content %}"
    "{% elif go_m.Role == 'user' %}"
    "{% if go.response %}" + _FLUSH + "{% endif %}{% set go.prompt = go_m.Content %}"
    "{% elif go_m.Role == 'assistant' %}{% set go.response = go_m.Content %}"
    "{% endif %}{% endfor %}" + _FLUSH
)
"""An exchange is a system text, a prompt and a response, each perhaps empty; the last one is open."""

MACROS: Final = {
    "go_text": (
        "{% macro go_text(x) %}{{ x if x is string else"
        " '' if x is none or x is undefined else x | tojson(separators=(',', ':')) }}{% endmacro %}"
    ),
    "go_type": (
        "{% macro go_type(x) %}"
        "{{ '[' ~ (x | join(' ')) ~ ']' if x | length > 1 else x | join }}{% endmacro %}"
    ),
    "go_typescript": (
        "{% macro go_typescript(x) %}{% if x.get('anyOf') %}"
        "{% for one in x.get('anyOf') %}{{ '' if loop.first else ' | ' }}{{ go_typescript(one) }}{% endfor %}"
        "{% else %}{% set types = x.get('type') or ['any'] %}"
        "{% for one in ([types] if types is string else types) %}{{ '' if loop.first else ' | ' }}"
        "{{ {'string': 'string', 'number': 'number', 'integer': 'number', 'boolean': 'boolean',"
        " 'array': 'any[]', 'object': 'Record<string, any>', 'null': 'null'}.get(one, 'any') }}"
        "{% endfor %}{% endif %}{% endmacro %}"
    ),
    "go_yesterday": (
        "{% macro go_yesterday() %}"
        "{% set year = strftime_now('%Y') | int %}{% set month = strftime_now('%m') | int %}"
        "{% set day = strftime_now('%d') | int - 1 %}"
        "{% if day == 0 %}{% set month = month - 1 %}"
        "{% if month == 0 %}{% set month = 12 %}{% set year = year - 1 %}{% endif %}"
        "{% set leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) %}"
        "{% set day = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] %}"
        "{% endif %}{{ '%04d-%02d-%02d' | format(year, month, day) }}{% endmacro %}"
    ),
}
