"""A generation as lines of JSON: what `sse` does for OpenAI's clients, in Ollama's form.

    {"model", "created_at", "message" | "response", "done": false}      a token; empty: nothing new for
                                                                        `heartbeat_s`, or it was just accepted
    {…, "done": true, "done_reason", durations}                         the end
    {"error": "text"}                                                   a fault in mid-stream, and the end

The first line is empty and goes out as soon as the request is accepted: clients give up on headers that do
not come for minutes, and a long prompt takes minutes. An empty line of text would not do: Ollama's clients
take every line for JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import falcon
import msgspec

from appliance.api import sse
from appliance.api.error_responses import error_object, row_of
from appliance.api.exchange import Exchange
from appliance.api.json_reply import encode
from appliance.api.ollama.answer import CallParts, end_of, logprobs_of
from appliance.api.ollama.stamps import NS, now, seconds_text
from appliance.api.ollama_errors import ollama_object
from appliance.wire.messages import Delta, FinishReason, Usage

NDJSON: Final = "application/x-ndjson"


class LineStream(sse.EventStream):
    """The body of one streamed answer. Owned as its base is."""

    done = b""

    def _silence_s(self) -> float:
        """No news is told before the first token, so nobody is told that sooner than later."""
        return self._heartbeat_s

    def _comment(self) -> bytes:
        """There are none in JSON: a token without text says as much."""
        return self._writer.opening()

    def _error_event(self, error: Exception) -> bytes:
        self._exchange.error_code = row_of(error).code
        return error_line(error)


def error_line(error: Exception) -> bytes:
    return msgspec.json.encode(ollama_object(error_object(error), error)) + b"\n"


def answer(resp: falcon.Response, stream: LineStream) -> None:
    """Make `stream` the answer. It is never kept beyond its connection: lines of JSON have no place for the
    number of an event.
    """
    sse.head(resp)
    resp.stream = stream
    resp.content_type = NDJSON


class Form(Protocol):
    """How one of the two endpoints shows what was said."""

    before: bytes
    """Between the time and the text of a token, which is JSON's."""
    after: bytes
    """To the end of the object, without `done`."""

    def told(self, text: str, *, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """The same of everything that may be said, as an object."""


class LineWriter:
    """Lines of one stream: a `sse.ChunkWriter`. Owned by the thread that streams."""

    def __init__(
        self,
        model: str,
        form: Form,
        exchange: Exchange,
        *,
        more: Callable[[str], dict[str, Any]] | None = None,
    ) -> None:
        """`more`: what the last object also says, of the whole text."""
        self._form = form
        self._exchange = exchange
        self._more = more
        self._model = model
        self._second_ns = self._next_second_ns = 0
        self._token = b""
        """Of the second that is on: a token's line, but for the fraction and the text. PERF: a token costs
        half a microsecond by it; to write the time anew each time would cost two.
        """
        self._calls = CallParts()
        self._text: list[str] = []
        self._usage: Usage | None = None
        self._reason: FinishReason | None = None

    def opening(self) -> bytes:
        return self._line_of("")

    def chunk(self, delta: Delta) -> bytes:
        text = delta.text
        if delta.finish_reason is None and not (delta.logprobs or delta.reasoning or delta.tool_calls):
            if not text:
                return b""
            if self._more is not None:
                self._text.append(text)
            return self._line_of(text)
        return self._rare(delta)

    def closing(self) -> bytes:
        told = self._form.told("", thinking="", calls=[])
        told |= end_of(self._exchange, self._usage, self._reason)
        if self._more is not None:
            told |= self._more("".join(self._text))
        return self._line(told)

    def _rare(self, delta: Delta) -> bytes:
        """Everything but plain text."""
        calls, rest = self._calls.add(delta.tool_calls)
        if delta.finish_reason is not None:
            self._reason, self._usage = delta.finish_reason, delta.usage
            last, cut = self._calls.end()
            calls, rest = calls + last, rest + cut
        text = delta.text + rest
        if self._more is not None:
            self._text.append(text)
        if not (text or delta.reasoning or calls or delta.logprobs):
            return b""
        told = self._form.told(text, thinking=delta.reasoning, calls=calls)
        if delta.logprobs:
            told["logprobs"] = logprobs_of(delta.logprobs)
        return self._line({**told, "done": False})

    def _line_of(self, text: str) -> bytes:
        now_ns = time.time_ns()
        if not self._second_ns <= now_ns < self._next_second_ns:
            self._begin_second(now_ns)
        return self._token % (now_ns - self._second_ns, encode(text))

    def _begin_second(self, now_ns: int) -> None:
        second = now_ns // NS
        self._second_ns, self._next_second_ns = second * NS, (second + 1) * NS
        head = b'{"model":' + encode(self._model) + b',"created_at":"' + seconds_text(second).encode()
        self._token = (
            head.replace(b"%", b"%%")
            + b'%09dZ",'
            + self._form.before
            + b"%b"
            + self._form.after
            + b',"done":false}\n'
        )

    def _line(self, told: dict[str, Any]) -> bytes:
        return encode({"model": self._model, "created_at": now(), **told}) + b"\n"
