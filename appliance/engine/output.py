"""From tokens to deltas, for one choice: whole characters, stop strings over token boundaries, reasoning and
tool calls.

    piece bytes → incremental UTF-8 → stop strings → chat parser → text, reasoning, tool calls

Pure state, no clock, no llama.cpp. Owned by the engine's thread.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.wire.messages import ToolCallDelta


class Parsed(Protocol):
    """What a chat parser makes of a piece of text."""

    @property
    def text(self) -> str: ...
    @property
    def reasoning(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[ToolCallDelta]: ...


class ChatParser(Protocol):
    """`chat_output.make_parser` gives one."""

    @property
    def saw_tool_call(self) -> bool: ...
    @property
    def has_ended(self) -> bool: ...
    def feed(self, text: str) -> Parsed: ...
    def finish(self) -> Parsed: ...


@dataclass(slots=True)
class Emitted:
    """What one choice gained."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] | None = None
    stop: str | None = None
    """The stop string that matched; generation ends."""
    has_ended: bool = False
    """The answer is complete; generation ends."""

    def add(self, parsed: Parsed) -> None:
        self.text += parsed.text
        self.reasoning += parsed.reasoning
        if parsed.tool_calls:
            self.tool_calls = [*(self.tool_calls or []), *parsed.tool_calls]


class StopStrings:
    """Finds the first stop string in a stream of text, holding back only what may be the start of one.

    The first is the one that is complete first, and of those the longest: so it does not matter how the text
    is cut.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Text that is surely not part of a stop string, and the stop string that ended it, if any."""
        if not self._stops:
            return text, None
        buffer = self._held + text
        found = [(buffer.find(stop) + len(stop), stop) for stop in self._stops if stop in buffer]
        if found:
            end, stop = min(found, key=lambda hit: (hit[0], -len(hit[1])))
            self._held = ""
            return buffer[: end - len(stop)], stop
        keep = max((_overlap(buffer, stop) for stop in self._stops), default=0)
        self._held = buffer[len(buffer) - keep :]
        return buffer[: len(buffer) - keep], None

    def finish(self) -> str:
        """What was held back: the stream ended, so it was no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper start of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0


class OutputStream:
    """The text side of one choice."""

    def __init__(self, *, stops: Sequence[str], parser: ChatParser | None) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = StopStrings(stops)
        self._has_stops = bool(stops)
        self._parser = parser
        self.reasoning_seen = False

    @property
    def saw_tool_call(self) -> bool:
        return self._parser is not None and self._parser.saw_tool_call

    def feed(self, piece: bytes) -> Emitted:
        text = self._decoder.decode(piece)
        stop = None
        if self._has_stops:
            text, stop = self._stops.feed(text)
        if self._parser is None:
            return Emitted(text, stop=stop)
        emitted = Emitted(stop=stop)
        if text:
            emitted.add(self._parser.feed(text))
            emitted.has_ended = self._parser.has_ended
        return emitted

    def finish(self, *, stopped: bool) -> Emitted:
        """The rest. `stopped`: a stop string matched, so what was held back is none of it."""
        tail = "" if stopped else self._decoder.decode(b"", final=True)
        if tail and self._has_stops:
            tail, _ = self._stops.feed(tail)
        if self._has_stops and not stopped:
            tail += self._stops.finish()
        if self._parser is None:
            return Emitted(tail)
        emitted = Emitted()
        if tail:
            emitted.add(self._parser.feed(tail))
        emitted.add(self._parser.finish())
        return emitted
