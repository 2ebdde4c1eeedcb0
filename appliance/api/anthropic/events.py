r"""A message as server-sent events, in Anthropic's order.

message_start, ping
(content_block_start, content_block_delta*, content_block_stop)*     thinking, text, tool_use: one at a time
message_delta                                                        with `stop_reason` and `usage`
message_stop
error                                                                instead of all that would follow
"""

from __future__ import annotations

from typing import Any, Final

from appliance.api import anthropic_errors, sse
from appliance.api.anthropic.message import Envelope
from appliance.api.anthropic.outcome import first_usage, usage_object
from appliance.api.error_responses import error_object, row_of
from appliance.api.exchange import Exchange
from appliance.api.json_reply import encode
from appliance.errors import EngineFault
from appliance.wire.messages import Delta, ToolCallDelta

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_TEXT: Final = "text"
_THINKING: Final = "thinking"


def event(kind: str, told: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **told}) + b"\n\n"


class MessageStream(sse.EventStream):
    """Ends as this API ends: without [DONE], and faults in its own form."""

    done = b""

    def _error_event(self, error: Exception) -> bytes:
        row = row_of(error)
        self._exchange.error_code = row.code
        status = anthropic_errors.status_of(row.status, row.code)
        told = anthropic_errors.error_object(error_object(error), status, self._exchange.request_id)
        return event("error", told)


class MessageWriter:
    """Implements `sse.ChunkWriter`. Owned by the thread that streams."""

    def __init__(self, envelope: Envelope, exchange: Exchange) -> None:
        self._envelope = envelope
        self._exchange = exchange
        self._index = -1
        """Of the block that is open, or was last."""
        self._open: str | int | None = None
        """Its kind, or the number of its call; None: none is."""
        self._head = b""
        """Of its deltas, up to what is new."""
        self._calls: set[int] = set()

    def opening(self) -> bytes:
        """Sent as soon as the request is accepted, and so with the true status."""
        message = self._envelope.message(
            content=[], stop=(None, None), usage=first_usage(self._exchange.accepted)
        )
        return event("message_start", {"message": message}) + PING

    def chunk(self, delta: Delta) -> bytes:
        if self._open == _TEXT and delta.finish_reason is None and not (delta.reasoning or delta.tool_calls):
            return self._gain(delta.text) if delta.text else b""
        return self._rare(delta)

    def closing(self) -> bytes:
        return _STOP

    def _rare(self, delta: Delta) -> bytes:
        """Everything but more text in an open block of text."""
        parts = []
        if delta.reasoning:
            parts += [self._turn_to(_THINKING), self._gain(self._envelope.thoughts(delta.reasoning))]
        if delta.text:
            parts += [self._turn_to(_TEXT), self._gain(delta.text)]
        parts += [self._call(call) for call in delta.tool_calls]
        if delta.usage is not None:
            parts.append(self._end(delta))
        return b"".join(parts)

    def _end(self, delta: Delta) -> bytes:
        assert delta.usage is not None
        reason, sequence = self._envelope.stop_of(delta.finish_reason, delta.stop, delta.usage)
        told = {
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage_object(delta.usage),
        }
        return self._close() + event("message_delta", told)

    def _call(self, call: ToolCallDelta) -> bytes:
        begun = b""
        if self._open != call.index:
            if call.index in self._calls:
                raise EngineFault(reason=f"more of tool call {call.index}, which had ended")
            self._calls.add(call.index)
            block = {"type": "tool_use", "id": call.call_id or "", "name": call.name or "", "input": {}}
            begun = self._begin(call.index, block, b'"input_json_delta","partial_json":')
        return begun + (self._gain(call.arguments) if call.arguments else b"")

    def _turn_to(self, kind: str) -> bytes:
        """Have a block of this kind open."""
        if self._open == kind:
            return b""
        if kind == _THINKING:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            return self._begin(kind, block, b'"thinking_delta","thinking":')
        return self._begin(kind, {"type": "text", "text": ""}, b'"text_delta","text":')

    def _begin(self, kind: str | int, block: dict[str, Any], what: bytes) -> bytes:
        closed = self._close()
        self._index += 1
        self._open = kind
        self._head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
            + str(self._index).encode()
            + b',"delta":{"type":'
            + what
        )
        return closed + event("content_block_start", {"index": self._index, "content_block": block})

    def _gain(self, text: str) -> bytes:
        return self._head + encode(text) + b"}}\n\n"

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return event("content_block_stop", {"index": self._index})
