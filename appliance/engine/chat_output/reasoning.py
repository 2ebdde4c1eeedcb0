"""Splits the reasoning block off the front of an answer, as it arrives."""

from __future__ import annotations

from enum import Enum, auto

from appliance.engine.chat_output.markers import held_from
from appliance.engine.template_format import ReasoningTags


class _State(Enum):
    START = auto()
    """Only blanks so far: a block may still open."""
    INSIDE = auto()
    AFTER = auto()
    """The block closed; the blanks that follow are not content."""
    CONTENT = auto()


class ReasoningSplitter:
    """One answer's. Owned by the engine's thread.

    The block's own leading and trailing blanks, and those between it and the content, belong to the form and
    are dropped.
    """

    def __init__(self, tags: ReasoningTags, *, opened: bool) -> None:
        """`opened`: the prompt ended inside a block. A model that repeats the opening tag is forgiven."""
        self._tags = tags
        self._state = _State.START
        self._opened = opened
        self._buffer = ""
        self._began = False

    def feed(self, text: str) -> tuple[str, str]:
        """(reasoning, content) gained."""
        if self._state is _State.CONTENT:
            return "", text
        self._buffer += text
        reasoning = ""
        if self._state is _State.START:
            self._leave_start()
        if self._state is _State.INSIDE:
            reasoning = self._inside()
        if self._state is _State.AFTER and (content := self._buffer.lstrip()):
            self._buffer, self._state = content, _State.CONTENT
        return reasoning, self._taken() if self._state is _State.CONTENT else ""

    def finish(self) -> tuple[str, str]:
        """What was held back. An unclosed block is reasoning to its end."""
        held = self._taken()
        if self._state is _State.INSIDE or (self._state is _State.START and self._opened):
            return (held.rstrip(), "")
        return ("", "" if self._state is _State.AFTER else held)

    def _taken(self) -> str:
        taken, self._buffer = self._buffer, ""
        return taken

    def _leave_start(self) -> None:
        shown = self._buffer.lstrip()
        if shown.startswith(self._tags.open):
            self._buffer, self._state = shown.removeprefix(self._tags.open), _State.INSIDE
        elif not self._tags.open.startswith(shown):
            self._state = _State.INSIDE if self._opened else _State.CONTENT

    def _inside(self) -> str:
        at = self._buffer.find(self._tags.close)
        if at >= 0:
            block, self._buffer = self._buffer[:at].rstrip(), self._buffer[at + len(self._tags.close) :]
            self._state = _State.AFTER
        else:
            block = self._buffer[: held_from(self._buffer, self._tags.close)].rstrip()
            self._buffer = self._buffer[len(block) :]
        if self._began:
            return block
        shown = block.lstrip()
        self._began = bool(shown)
        return shown
