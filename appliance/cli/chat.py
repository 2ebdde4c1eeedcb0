"""What a chat is to the CLI: the request it sends, the pieces of the answer it reads, the figures it shows.
Pure.

Flow 1 seen from outside. `client.py` does the talking, `answer.py` the showing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

_PREFILL: Final = re.compile(
    r"prefill ([0-9]{1,12})/([0-9]{1,12})(?: [0-9]+%(?: eta_s=([0-9]{1,9}))?)?(?: |$)"
)
_QUEUE: Final = re.compile(r"queue position=([0-9]{1,9})(?: eta_s=([0-9]{1,9}))?(?: |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A piece of a tool call; `name` comes with the first piece, `arguments` in parts."""

    index: int
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one event of the stream added."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None

    @property
    def has_output(self) -> bool:
        """Whether the model said something in it: the first such piece is the first token."""
        return bool(self.text or self.reasoning or self.tool_calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill:
    """How far the prompt is computed, where the server says so."""

    done_tokens: int
    total_tokens: int
    eta_s: int | None = None

    def __str__(self) -> str:
        """For the one who waits."""
        percent = f" ({100 * self.done_tokens // self.total_tokens}%)" if self.total_tokens else ""
        return (
            f"reading the prompt, {self.done_tokens} of {self.total_tokens} tokens{percent}{_eta(self.eta_s)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the request stands in the queue, where the server says so."""

    position: int
    """1: the next."""
    eta_s: int | None

    def __str__(self) -> str:
        return f"place {self.position} in the queue{_eta(self.eta_s)}"


def _eta(eta_s: int | None) -> str:
    return "" if eta_s is None else f", about {eta_s} s"


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning of the server: a field it did not honour."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that shapes an answer besides the messages. The REPL replaces it whole with every `/set`."""

    model: str
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    response_format: Json | None = None
    think: bool | None = None
    """None: the model's own default."""

    def body(self, messages: list[Json]) -> Json:
        """The request's JSON. `messages` are without the system message."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: Json = {
            "model": self.model,
            "messages": system + messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.parameters,
        }
        if self.response_format is not None:
            body["response_format"] = self.response_format
        if self.think is not None:
            body["chat_template_kwargs"] = {"enable_thinking": self.think}
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Measured by the client: what its user felt. Seconds."""

    total_s: float
    load_s: float
    """Waited for a model that was loading."""
    first_token_s: float | None
    """None: no token came."""

    def decode_rate(self, tokens: int) -> float | None:
        """Tokens per second after the first one."""
        if self.first_token_s is None or tokens < 2:
            return None
        decode_s = self.total_s - self.load_s - self.first_token_s
        return (tokens - 1) / decode_s if decode_s > 0 else None

    def prompt_rate(self, tokens: int) -> float | None:
        return tokens / self.first_token_s if self.first_token_s else None


class Reply:
    """The answer so far. Owned by the thread that reads the stream."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.text = ""
        self.reasoning = ""
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.timings: Timings | None = None
        self._calls: dict[int, Json] = {}

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.reasoning += piece.reasoning
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.usage = piece.usage or self.usage
        self.model = piece.model or self.model
        for call in piece.tool_calls:
            entry = self._calls.setdefault(call.index, {"name": "", "arguments": ""})
            entry["name"] = call.name or entry["name"]
            entry["arguments"] += call.arguments

    @property
    def tool_calls(self) -> list[Json]:
        return [self._calls[index] for index in sorted(self._calls)]

    def message(self) -> Json:
        """What goes into the conversation for the next turn."""
        return {"role": "assistant", "content": self.text}

    def as_json(self) -> Json:
        usage, timings = self.usage, self.timings
        return {
            "model": self.model,
            "content": self.text,
            "reasoning": self.reasoning or None,
            "tool_calls": self.tool_calls,
            "finish_reason": self.finish_reason,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "cached_tokens": usage.cached_tokens if usage else None,
            "completion_tokens": usage.completion_tokens if usage else None,
            "total_s": round(timings.total_s, 4) if timings else None,
            "load_s": round(timings.load_s, 4) if timings else None,
            "first_token_s": round(timings.first_token_s, 4)
            if timings and timings.first_token_s is not None
            else None,
            "tokens_per_s": _rounded(timings.decode_rate(usage.completion_tokens))
            if timings and usage
            else None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def piece_of(chunk: Json) -> Piece:
    """Read one `chat.completion.chunk`. Servers differ in what they leave out, so every key may be missing or
    null.
    """
    choices = chunk.get("choices") or [{}]
    choice = choices[0]
    delta = choice.get("delta") or {}
    return Piece(
        text=delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        tool_calls=tuple(_tool_call(call) for call in delta.get("tool_calls") or ()),
        finish_reason=choice.get("finish_reason"),
        usage=_usage(chunk.get("usage")),
        model=chunk.get("model"),
    )


def prefill_of(comment: str) -> Prefill | None:
    """Read a `: prefill 512/8192 6% eta_s=41` comment; None for any other."""
    match = _PREFILL.match(comment)
    return (
        Prefill(done_tokens=int(match[1]), total_tokens=int(match[2]), eta_s=_int(match[3]))
        if match
        else None
    )


def place_of(comment: str) -> Place | None:
    """Read a `: queue position=3 eta_s=12` comment; None for any other."""
    match = _QUEUE.match(comment)
    return Place(position=int(match[1]), eta_s=_int(match[2])) if match else None


def _int(text: str | None) -> int | None:
    return None if text is None else int(text)


def user_message(prompt: str, piped: str | None) -> Json:
    """Piped text comes first, as in Ollama: models heed best what stands at the end."""
    content = f"{piped}\n\n{prompt}" if piped and prompt else piped or prompt
    return {"role": "user", "content": content}


def schema_format(name: str, schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _tool_call(call: Json) -> ToolCall:
    function = call.get("function") or {}
    return ToolCall(
        index=call.get("index") or 0, name=function.get("name"), arguments=function.get("arguments") or ""
    )


def _usage(usage: Json | None) -> Usage | None:
    if not usage:
        return None
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
    )
