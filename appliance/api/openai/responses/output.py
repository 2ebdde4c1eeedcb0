"""The items of one answer, grown from the deltas of its generation, with an event for each step.

    output_item.added
      content_part.added                        thoughts and text
        output_text.delta* output_text.done     or reasoning_text.…
      content_part.done
      function_call_arguments.delta* ….done     a call
    output_item.done

One item is open at a time; the next one closes it. A whole answer is the items without the events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from appliance.api.dialect.logprobs import logprob_entries
from appliance.api.openai.responses.items import Kept, new_id
from appliance.errors import EngineFault
from appliance.wire.messages import Delta, FinishReason, TokenLogprob, ToolCallDelta

Event = dict[str, Any]
"""Without its `sequence_number`."""

_TEXT: Final = "output_text"
_THOUGHT: Final = "reasoning_text"


@dataclass(slots=True)
class _Open:
    """The item that grows."""

    kind: str
    """`output_text`, `reasoning_text`, or `function_call`."""
    index: int
    item: Kept
    call: int = -1
    pieces: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def place(self) -> dict[str, Any]:
        place = {"item_id": self.item["id"], "output_index": self.index}
        return place if self.kind == "function_call" else {**place, "content_index": 0}


class Output:
    """Owned by the thread that answers."""

    def __init__(self) -> None:
        self.items: list[Kept] = []
        """The closed ones."""
        self._open: _Open | None = None
        self._waiting: list[TokenLogprob] = []
        """Of tokens whose text has not come yet."""

    def add(self, delta: Delta) -> list[Event]:
        """What `delta` adds, and with its `finish_reason` the ends. Raises EngineFault for calls out of
        order.
        """
        events: list[Event] = []
        if delta.reasoning:
            events += self._grow(_THOUGHT, delta.reasoning)
        if delta.text:
            self._waiting += delta.logprobs
            events += self._grow(_TEXT, delta.text)
        elif not delta.reasoning and not delta.tool_calls:
            self._waiting += delta.logprobs
        for call in delta.tool_calls:
            events += self._call(call)
        if delta.finish_reason is not None:
            events += self._end("incomplete" if delta.finish_reason is FinishReason.LENGTH else "completed")
        return events

    def so_far(self) -> list[Kept]:
        """All items, the open one as it stands: of an answer that failed."""
        if self._open is None:
            return self.items
        self._fill(self._open, status="incomplete")
        return [*self.items, self._open.item]

    def _grow(self, kind: str, text: str) -> list[Event]:
        events: list[Event] = []
        if self._open is None or self._open.kind != kind:
            events += self._begin_text(kind)
        grown = self._grown()
        grown.pieces.append(text)
        event: Event = {"type": f"response.{kind}.delta", **grown.place, "delta": text}
        if kind == _TEXT:
            event["logprobs"] = self._take_logprobs(grown)
        return [*events, event]

    def _begin_text(self, kind: str) -> list[Event]:
        if kind == _TEXT:
            told: Kept = {"id": new_id("msg"), "type": "message", "role": "assistant"}
        else:
            told = {"id": new_id("rs"), "type": "reasoning", "summary": []}
        events = self._begin(kind, {**told, "status": "in_progress", "content": []})
        return [
            *events,
            {"type": "response.content_part.added", **self._grown().place, "part": _part(kind, "", [])},
        ]

    def _call(self, call: ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        if call.call_id is not None:
            item = {
                "id": new_id("fc"),
                "type": "function_call",
                "status": "in_progress",
                "call_id": call.call_id,
                "name": call.name or "",
                "arguments": "",
            }
            events += self._begin("function_call", item)
            self._grown().call = call.index
        grown = self._open
        if grown is None or grown.call != call.index:
            raise EngineFault(reason=f"arguments came for call {call.index}, which is not open")
        if call.arguments:
            grown.pieces.append(call.arguments)
            kind = "response.function_call_arguments.delta"
            events.append({"type": kind, **grown.place, "delta": call.arguments})
        return events

    def _begin(self, kind: str, item: Kept) -> list[Event]:
        events = self._close("completed")
        self._open = _Open(kind, len(self.items), item)
        added = {"type": "response.output_item.added", "output_index": self._open.index, "item": dict(item)}
        return [*events, added]

    def _end(self, status: str) -> list[Event]:
        """An answer without a word is an empty message."""
        empty = [] if self.items or self._open else self._begin_text(_TEXT)
        return [*empty, *self._close(status)]

    def _close(self, status: str) -> list[Event]:
        grown = self._open
        if grown is None:
            return []
        last = self._take_logprobs(grown) if grown.kind == _TEXT else []
        self._fill(grown, status=status)
        self._open = None
        self.items.append(grown.item)
        return [
            *_ends(grown, last),
            {"type": "response.output_item.done", "output_index": grown.index, "item": grown.item},
        ]

    def _fill(self, grown: _Open, *, status: str) -> None:
        text = "".join(grown.pieces)
        grown.item["status"] = status
        if grown.kind == "function_call":
            grown.item["arguments"] = text
        else:
            grown.item["content"] = [_part(grown.kind, text, grown.logprobs)]

    def _take_logprobs(self, grown: _Open) -> list[dict[str, Any]]:
        entries = logprob_entries(self._waiting)
        self._waiting = []
        grown.logprobs += entries
        return entries

    def _grown(self) -> _Open:
        assert self._open is not None
        return self._open


def _ends(grown: _Open, last: list[dict[str, Any]]) -> list[Event]:
    if grown.kind == "function_call":
        kind = "response.function_call_arguments.done"
        name, arguments = grown.item["name"], grown.item["arguments"]
        return [{"type": kind, **grown.place, "name": name, "arguments": arguments}]
    part = grown.item["content"][0]
    done: Event = {"type": f"response.{grown.kind}.done", **grown.place, "text": part["text"]}
    if grown.kind == _TEXT:
        done["logprobs"] = last
    return [done, {"type": "response.content_part.done", **grown.place, "part": part}]


def _part(kind: str, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    if kind == _THOUGHT:
        return {"type": kind, "text": text}
    return {"type": kind, "text": text, "annotations": [], "logprobs": logprobs}
