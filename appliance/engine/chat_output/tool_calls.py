"""Finds tool calls in an answer's content as it arrives, in the form of the model's family."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from appliance.engine.chat_output.call_scanner import CallScanner, Scan
from appliance.engine.chat_output.markers import held_from
from appliance.engine.template_format import ToolFormat
from appliance.wire.messages import ToolCallDelta


class Parsed(NamedTuple):
    """What a piece of text gave. A tuple, because one is made per token."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Syntax:
    opener: str
    """The marker that announces calls."""
    closer: str = ""
    """Follows a call, or, as "]", a list of them."""
    separators: str = ""
    """Between calls that have no marker of their own."""
    bare: bool = False
    """JSON at the start of the content may be a call without marker."""
    listed: bool = False
    """The marker may be followed by a list of calls, or by a name."""


_SYNTAX: Final = {
    ToolFormat.HERMES: _Syntax(opener="<tool_call>", closer="</tool_call>"),
    ToolFormat.JSON: _Syntax(opener="<tool_call>", closer="</tool_call>", bare=True),
    ToolFormat.LLAMA3: _Syntax(opener="<|python_tag|>", separators=";,", bare=True),
    ToolFormat.MISTRAL: _Syntax(opener="[TOOL_CALLS]", listed=True),
    ToolFormat.MISTRAL_ARGS: _Syntax(opener="[TOOL_CALLS]", listed=True),
}
_NAMED = re.compile(
    r"([A-Za-z0-9_.-]{1,64})(?:\[CALL_ID\][A-Za-z0-9_-]{1,64})?(?:\[ARGS\])?[ \t\r\n]*", re.ASCII
)
_NOT_IN_NAMED = re.compile(r"[^A-Za-z0-9_.\[\] \t\r\n-]", re.ASCII)
_MAX_NAMED_CHARS: Final = 200


class _State(Enum):
    LEAD = auto()
    """Blanks only, at the start or after a call."""
    TEXT = auto()
    OPENED = auto()
    """A marker was read."""
    CALL = auto()
    AFTER_CALL = auto()


class ToolCallParser:
    """One answer's. Owned by the engine's thread. What turns out to be no call comes out as it was."""

    def __init__(
        self,
        tool_format: ToolFormat,
        names: frozenset[str],
        new_call_id: Callable[[], str],
        *,
        most_calls: int | None = None,
    ) -> None:
        """`names`: the functions offered; bare JSON with another name is text. Empty: any name. `most_calls`:
        after so many the answer has ended, and what follows is dropped.
        """
        self._most_calls = most_calls
        self._syntax = _SYNTAX[tool_format]
        self._first = self._syntax.opener[0]
        self._names = names
        self._new_call_id = new_call_id
        self._state = _State.LEAD
        self._buffer = ""
        self._raw = ""
        """Of a call that may still turn out to be text: what stood before the scanner's part."""
        self._in_list = False
        self._scanner: CallScanner | None = None
        self._calls = 0
        self._text: list[str] = []
        self._deltas: list[ToolCallDelta] = []

    @property
    def saw_tool_call(self) -> bool:
        return self._calls > 0

    @property
    def has_ended(self) -> bool:
        return self._calls == self._most_calls and self._state is not _State.CALL

    def feed(self, text: str) -> Parsed:
        # PERF: most tokens are plain text in which no marker can begin.
        if self._state is _State.TEXT and not self._buffer and self._first not in text:
            return Parsed(text)
        self._buffer += text
        while self._buffer and not self.has_ended and self._step():
            pass
        if self.has_ended:
            self._buffer = ""
        return self._told()

    def finish(self) -> Parsed:
        """What was held back, now that nothing follows. A call cut off in its arguments stays as it is."""
        held = self._buffer
        if self._scanner is not None:
            held = self._raw + self._scanner.held + held
        elif self._state is _State.OPENED:
            held = self._raw + held
        elif self._state is _State.AFTER_CALL and self._syntax.closer.startswith(held.lstrip()):
            held = ""
        if held.strip() or not self._calls:
            self._text.append(held)
        self._buffer, self._scanner = "", None
        return self._told()

    def _told(self) -> Parsed:
        parsed = Parsed("".join(self._text), "", tuple(self._deltas))
        self._text, self._deltas = [], []
        return parsed

    def _step(self) -> bool:
        """Consume what is certain from the front of the buffer; False: more text is needed."""
        match self._state:
            case _State.LEAD:
                return self._lead()
            case _State.TEXT:
                return self._plain_text()
            case _State.OPENED:
                return self._opened()
            case _State.CALL:
                return self._call()
            case _State.AFTER_CALL:
                return self._after_call()

    def _lead(self) -> bool:
        shown = self._buffer.lstrip()
        blanks = self._buffer[: len(self._buffer) - len(shown)]
        if not shown:
            return False
        if self._syntax.bare and shown[0] == "{":
            return self._begin(blanks, shown, listed=False)
        opener = self._syntax.opener
        if shown.startswith(opener):
            self._open(blanks + opener, shown.removeprefix(opener))
            return True
        if opener.startswith(shown):
            return False
        self._state = _State.TEXT
        return True

    def _plain_text(self) -> bool:
        opener = self._syntax.opener
        at = self._buffer.find(opener)
        if at < 0:
            certain = held_from(self._buffer, opener)
            self._text.append(self._buffer[:certain])
            self._buffer = self._buffer[certain:]
            return False
        self._text.append(self._buffer[:at])
        self._open(opener, self._buffer[at + len(opener) :])
        return True

    def _open(self, raw: str, rest: str) -> None:
        self._raw, self._buffer, self._state = raw, rest, _State.OPENED
        self._in_list = False

    def _opened(self) -> bool:
        shown = self._buffer.lstrip()
        if not shown:
            return False
        blanks = self._buffer[: len(self._buffer) - len(shown)]
        if shown[0] == "{":
            return self._begin(self._raw + blanks, shown, listed=self._in_list)
        if self._syntax.listed and not self._in_list:
            if shown[0] == "[":
                self._raw, self._buffer, self._in_list = self._raw + blanks + "[", shown[1:], True
                return True
            return self._named(shown)
        return self._show_as_text(self._raw)

    def _named(self, shown: str) -> bool:
        """`name[ARGS]{…}`: the arguments stand alone."""
        stop = _NOT_IN_NAMED.search(shown)
        end = len(shown) if stop is None else stop.start()
        if end > _MAX_NAMED_CHARS:
            return self._show_as_text(self._raw)
        if stop is None:
            return False
        found = _NAMED.fullmatch(shown, 0, end)
        if found is None or stop.group() != "{":
            return self._show_as_text(self._raw)
        self._raw, self._buffer, self._state = "", shown[end:], _State.CALL
        self._on_name(found.group(1))
        self._scanner = CallScanner.of_arguments(self._on_arguments)
        return True

    def _begin(self, raw: str, rest: str, *, listed: bool) -> bool:
        bare = not raw.strip()
        self._raw, self._buffer, self._state, self._in_list = raw, rest, _State.CALL, listed
        self._scanner = CallScanner(self._on_name, self._on_arguments, self._offered if bare else _any_name)
        return True

    def _offered(self, name: str) -> bool:
        return not self._names or name in self._names

    def _on_name(self, name: str) -> None:
        delta = ToolCallDelta(index=self._calls, call_id=self._new_call_id(), name=name, arguments="")
        self._deltas.append(delta)
        self._calls += 1
        self._raw = ""

    def _on_arguments(self, piece: str) -> None:
        if piece:
            self._deltas.append(
                ToolCallDelta(index=self._calls - 1, call_id=None, name=None, arguments=piece)
            )

    def _call(self) -> bool:
        assert self._scanner is not None
        self._buffer = self._scanner.feed(self._buffer)
        if self._scanner.status is Scan.MORE:
            return False
        scanner, self._scanner = self._scanner, None
        if scanner.status is Scan.BROKEN:
            # Its own first character is text for certain; the rest may hold another marker.
            self._buffer = scanner.held[1:] + self._buffer
            return self._show_as_text(self._raw + scanner.held[:1])
        self._state = _State.AFTER_CALL
        return True

    def _show_as_text(self, raw: str) -> bool:
        self._text.append(raw)
        self._raw, self._state = "", _State.TEXT
        return True

    def _after_call(self) -> bool:
        shown = self._buffer.lstrip()
        closer = self._syntax.closer
        if not shown:
            return False
        if self._in_list:
            return self._next_in_list(shown)
        if closer and shown.startswith(closer):
            self._buffer = shown.removeprefix(closer)
        elif closer and closer.startswith(shown):
            return False
        elif shown[0] in self._syntax.separators:
            self._buffer = shown[1:]
        self._state = _State.LEAD
        return True

    def _next_in_list(self, shown: str) -> bool:
        if shown[0] == ",":
            self._raw, self._buffer, self._state = ",", shown[1:], _State.OPENED
            return True
        self._in_list = False
        self._buffer = shown[1:] if shown[0] == "]" else shown
        self._state = _State.LEAD
        return True


def _any_name(_: str) -> bool:
    return True
