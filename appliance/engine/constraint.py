"""What an answer must look like, as one checked grammar. Pure; part of flow 1 (chat), before a sequence is
made.

A grammar is needed for `response_format`, for raw GBNF, and for `tool_choice` required or named: then it
admits nothing but a call of one of the functions, in the model's own format. With `tool_choice` auto alone
the model is free, but for calls of functions that are `strict`: where the model begins a call, the grammar
finishes it. Reasoning stays possible: a block the prompt has opened is let run to its end first, and
one the model may open is optional.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from appliance.engine.gbnf_check import MAX_GENERATED_BYTES, check_gbnf
from appliance.engine.grammar_text import GrammarText, literal
from appliance.engine.schema_grammar import schema_rule
from appliance.engine.template_format import ReasoningTags, ToolFormat
from appliance.errors import InvalidRequest
from appliance.wire.messages import ChatPrompt, Constraint, ConstraintKind, ToolChoice

_CACHED: Final = 64
_MAX_PARALLEL_CALLS: Final = 8
_MARKERS: Final = {
    ToolFormat.HERMES: "<tool_call>",
    ToolFormat.JSON: "<tool_call>",
    ToolFormat.LLAMA3: "<|python_tag|>",
    ToolFormat.MISTRAL: "[TOOL_CALLS]",
    ToolFormat.MISTRAL_ARGS: "[TOOL_CALLS]",
}
"""What announces calls; as in `chat_output/tool_calls.py`."""
_BARE: Final = frozenset({ToolFormat.JSON, ToolFormat.LLAMA3})
"""A call may also stand alone, at the beginning."""
_BLANKS: Final = " \t\r\n"
_FORMAT_PARAM: Final = "response_format.json_schema.schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledConstraint:
    """Checked; its root is "root"."""

    gbnf: str
    param: str
    """The request field that asked for it."""
    calls_tool: bool
    """The answer is a tool call and nothing else."""


def compile_constraint(
    constraint: Constraint | None,
    chat: ChatPrompt | None,
    tool_format: ToolFormat = ToolFormat.JSON,
    *,
    reasoning: ReasoningTags | None = None,
    reasoning_open: bool = False,
) -> CompiledConstraint | None:
    """The grammar of an answer; None: the model is free. Any thread. Raises InvalidRequest naming the field.

    `reasoning_open`: the rendered prompt ends inside a reasoning block (`template_format.opens_reasoning`).
    """
    tools = _forced_tools(chat)
    is_free = constraint is None and not tools and _has_strict(chat)
    if constraint is None and not tools and not is_free:
        return None
    if constraint is not None and constraint.kind is ConstraintKind.GBNF:
        if tools:
            raise InvalidRequest(
                reason="a grammar and a forced tool call exclude each other", param="grammar"
            )
        return _raw(constraint.gbnf or "")
    allowed = chat.tools if chat is not None and chat.tools and chat.tool_choice is ToolChoice.AUTO else []
    thinking = chat is not None and (reasoning_open or chat.parse_reasoning)
    wish = _Wish(
        constraint=None if tools else constraint,
        tools=tools or allowed,
        tool_format=tool_format,
        parallel=chat is not None and chat.parallel_tool_calls and chat.tool_choice is not ToolChoice.NAMED,
        reasoning=reasoning if thinking else None,
        reasoning_open=reasoning_open,
        is_free=is_free,
    )
    return CompiledConstraint(gbnf=_compiled(wish.key()), param=wish.param, calls_tool=bool(tools))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """All that a generated grammar depends on."""

    constraint: Constraint | None
    tools: list[dict[str, Any]]
    tool_format: ToolFormat
    parallel: bool
    reasoning: ReasoningTags | None
    reasoning_open: bool
    is_free: bool
    """Text, too, is an answer."""

    @property
    def param(self) -> str:
        return "tools" if self.constraint is None else _FORMAT_PARAM

    def key(self) -> str:
        """As canonical JSON, whose order is the schema's own. Raises InvalidRequest on what is no JSON."""
        kind = None if self.constraint is None else self.constraint.kind.value
        schema = None if self.constraint is None else self.constraint.schema
        tags = None if self.reasoning is None else [self.reasoning.open, self.reasoning.close]
        how = [self.tool_format.value, self.parallel, tags, self.reasoning_open, self.is_free]
        try:
            return json.dumps([kind, schema, self.tools, *how], allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(
                reason=f"the schema is not plain JSON: {error}", param=_FORMAT_PARAM
            ) from error


def _has_strict(chat: ChatPrompt | None) -> bool:
    """A function that may be called holds the model to its schema."""
    if chat is None or chat.tool_choice is not ToolChoice.AUTO:
        return False
    return any(tool.get("function", {}).get("strict") for tool in chat.tools)


def _forced_tools(chat: ChatPrompt | None) -> list[dict[str, Any]]:
    if chat is None or chat.tool_choice not in {ToolChoice.REQUIRED, ToolChoice.NAMED}:
        return []
    if chat.continue_final_message:
        raise InvalidRequest(
            reason="a message that is continued cannot become a tool call", param="tool_choice"
        )
    tools = [
        tool
        for tool in chat.tools
        if chat.tool_choice is ToolChoice.REQUIRED or tool.get("function", {}).get("name") == chat.tool_name
    ]
    if not tools:
        named = f"function {chat.tool_name!r} is not among tools" if chat.tool_name else "it needs tools"
        raise InvalidRequest(reason=named, param="tool_choice")
    return tools


@lru_cache(maxsize=_CACHED)
def _raw(gbnf: str) -> CompiledConstraint:
    check_gbnf(gbnf)
    return CompiledConstraint(gbnf=gbnf, param="grammar", calls_tool=False)


@lru_cache(maxsize=_CACHED)
def _compiled(key: str) -> str:
    """Conversations repeat their tools and schemas: compile each once. Failures are not kept."""
    kind, schema, tools, tool_format, parallel, tags, reasoning_open, is_free = json.loads(key)
    grammar = GrammarText()
    answers: list[str] = []
    if kind == ConstraintKind.JSON_OBJECT:
        answers.append(grammar.fixed("object"))
    elif kind == ConstraintKind.JSON_SCHEMA:
        answers.append(schema_rule(schema, grammar, param=_FORMAT_PARAM))
    if is_free:
        answers.append(_text_or_calls(tools, ToolFormat(tool_format), grammar, parallel=parallel))
    elif tools:
        answers.append(_calls(tools, ToolFormat(tool_format), grammar, parallel=parallel))
    root = " | ".join(answers)
    if tags is not None:
        root = _after_reasoning(root, ReasoningTags(*tags), grammar, opened=reasoning_open)
    text = grammar.text(root)
    check_gbnf(text, param=_FORMAT_PARAM if kind else "tools", max_bytes=MAX_GENERATED_BYTES)
    return text


# ── tool calls ──────────────────────────────────────────────────────────────────────────────────


def _calls(
    tools: list[dict[str, Any]],
    tool_format: ToolFormat,
    grammar: GrammarText,
    *,
    parallel: bool,
    all_strict: bool = True,
) -> str:
    """One call of one of the tools, or several, in the model's own form."""
    calls = _one_call(tools, tool_format, grammar, all_strict=all_strict)
    more = f"{{0,{_MAX_PARALLEL_CALLS - 1}}}" if parallel else "{0}"
    match tool_format:
        case ToolFormat.LLAMA3:
            return calls  # its template admits one call per message
        case ToolFormat.MISTRAL:
            return grammar.rule(f'"[TOOL_CALLS][" {calls} (", " {calls}){more} "]"')
        case ToolFormat.MISTRAL_ARGS:
            return grammar.rule(f"{calls} ({calls}){more}")
        case _:
            one = grammar.rule(f'"<tool_call>\\n" {calls} "\\n</tool_call>"')
            return grammar.rule(f'{one} ("\\n" {one}){more}')


def _one_call(
    tools: list[dict[str, Any]], tool_format: ToolFormat, grammar: GrammarText, *, all_strict: bool
) -> str:
    """Without what stands around it. `all_strict`: also the functions that do not ask for it."""
    key = "parameters" if tool_format is ToolFormat.LLAMA3 else "arguments"
    ways = (
        _call(index, tool, tool_format, key, grammar, all_strict=all_strict)
        for index, tool in enumerate(tools)
    )
    return grammar.rule(" | ".join(dict.fromkeys(ways)))


def _text_or_calls(
    tools: list[dict[str, Any]], tool_format: ToolFormat, grammar: GrammarText, *, parallel: bool
) -> str:
    """Any text without the marker of calls, then perhaps calls. Where a call needs no marker, a text does not
    begin with a brace: the parser would take it for a call.
    """
    calls = _calls(tools, tool_format, grammar, parallel=parallel, all_strict=False)
    marker = _MARKERS[tool_format]
    if tool_format not in _BARE:
        return f"{_without(marker, grammar)} {calls}?"
    bare = _one_call(tools, tool_format, grammar, all_strict=False)
    text = _without(marker, grammar, first_not="{")
    marked = "" if tool_format is ToolFormat.LLAMA3 else f"{calls}?"
    return f"[ \\t\\r\\n]* ({text} {marked} | {bare})"


def _call(
    index: int,
    tool: dict[str, Any],
    tool_format: ToolFormat,
    key: str,
    grammar: GrammarText,
    *,
    all_strict: bool,
) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise InvalidRequest(
            reason="a function with a name is expected", param=f"tools[{index}].function.name"
        )
    if all_strict or function.get("strict"):
        arguments = _arguments(function.get("parameters"), grammar, f"tools[{index}].function.parameters")
    else:
        arguments = grammar.fixed("object")
    if tool_format is ToolFormat.MISTRAL_ARGS:
        return grammar.rule(f"{literal(f'[TOOL_CALLS]{name}[ARGS]')} {arguments}")
    head = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{key}": '
    return grammar.rule(f'{literal(head)} {arguments} "}}"')


def _arguments(schema: Any, grammar: GrammarText, param: str) -> str:
    """A function without parameters takes `{}`; arguments are always an object."""
    if schema is None:
        return grammar.rule('"{}"')
    if not isinstance(schema, dict):
        raise InvalidRequest(reason="a JSON Schema object is expected", param=param)
    if schema.get("type", "object") != "object":
        raise InvalidRequest(reason="the arguments of a function are an object", param=f"{param}.type")
    combined = any(word in schema for word in ("$ref", "anyOf", "oneOf", "allOf"))
    return schema_rule(schema if combined else {**schema, "type": "object"}, grammar, param=param)


# ── reasoning ───────────────────────────────────────────────────────────────────────────────────


def _after_reasoning(answer: str, tags: ReasoningTags, grammar: GrammarText, *, opened: bool) -> str:
    """The answer, after the rest of an opened reasoning block, or after a block of its own if the model wants
    one.
    """
    rest = f"{_until(tags.close, grammar)} [ \\n]{{0,3}}"
    if opened:
        return f"{rest} ({answer})"
    return f"({literal(tags.open)} {rest})? ({answer})"


def _until(marker: str, grammar: GrammarText) -> str:
    """Any text up to and with the first `marker`, one rule per state."""
    names = [f"until-{state}" for state in range(len(marker))]
    for name, steps in zip(names, _automaton(marker), strict=True):
        ways = [
            literal(char) + ("" if reached == len(marker) else f" {names[reached]}")
            for char, reached in steps.items()
        ]
        grammar.define(name, " | ".join([*ways, f"[^{_class(steps)}] {names[0]}"]))
    return names[0]


def _without(marker: str, grammar: GrammarText, *, first_not: str = "") -> str:
    """Any text in which `marker` does not stand, also none. `first_not`: nor does it begin with that, or with
    blanks.
    """
    names = [f"text-{state}" for state in range(len(marker))]
    for name, steps in zip(names, _automaton(marker), strict=True):
        grammar.define(name, f'{_ways_on(steps, names)} | ""')
    if not first_not:
        return names[0]
    first = _ways_on(_automaton(marker)[0], names, but=first_not + _BLANKS)
    grammar.define("text", f'{first} | ""')
    return "text"


def _ways_on(steps: dict[str, int], names: list[str], *, but: str = "") -> str:
    """One more character, which does not complete the marker and is none of `but`."""
    ways = [f"{literal(char)} {names[reached]}" for char, reached in steps.items() if reached < len(names)]
    return " | ".join([*ways, f"[^{_class([*steps, *but])}] {names[0]}"])


def _automaton(marker: str) -> list[dict[str, int]]:
    """Knuth, Morris and Pratt: of each state, where a character of the marker leads, if not to the first."""
    states: list[dict[str, int]] = []
    for state in range(len(marker)):
        steps: dict[str, int] = {}
        for char in dict.fromkeys(marker):
            read = marker[:state] + char
            reached = next(k for k in range(min(len(read), len(marker)), -1, -1) if read.endswith(marker[:k]))
            if reached:
                steps[char] = reached
        states.append(steps)
    return states


def _class(chars: Iterable[str]) -> str:
    return "".join(f"\\U{ord(char):08X}" for char in chars)
