"""Reads one tool call's JSON object as it arrives, and lets its arguments through untouched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

_MAX_HEAD_CHARS: Final = 64 * 1024
_ARGUMENT_KEYS: Final = ("arguments", "parameters")
_HEAD_KEYS: Final = frozenset({*_ARGUMENT_KEYS, "name", "type", "id", "function"})
_BEFORE_ARGUMENTS = re.compile(r'.*"(?:arguments|parameters)"\s*:\s*', re.DOTALL)
_STRUCTURAL = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')


class Scan(Enum):
    MORE = auto()
    """Everything given was taken; the call goes on."""
    DONE = auto()
    """The call is complete; what follows is not part of it."""
    BROKEN = auto()
    """This is no call: `held` is what was read, to be shown as text. Never after the name was told."""


class CallScanner:
    """One object `{"name": …, "arguments": {…}}`, keys in any order. Owned by the engine's thread.

    Streams the arguments if the name comes first; else waits for the object's end. `on_name` and
    `on_arguments` are told what is certain; `accept` may refuse a name (bare JSON that only looks like a
    call).
    """

    def __init__(
        self,
        on_name: Callable[[str], None],
        on_arguments: Callable[[str], None],
        accept: Callable[[str], bool],
    ) -> None:
        self.held = ""
        self.status = Scan.MORE
        self._on_name = on_name
        self._on_arguments = on_arguments
        self._accept = accept
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._key_seen = False
        self._streaming = False
        self._tail = False

    @classmethod
    def of_arguments(cls, on_arguments: Callable[[str], None]) -> CallScanner:
        """For formats that put the name outside: only the arguments' object follows."""
        scanner = cls(_ignore, on_arguments, lambda _: True)
        scanner._depth = 1
        scanner._streaming = True
        return scanner

    @property
    def bare_arguments(self) -> bool:
        return self._on_name is _ignore

    def feed(self, text: str) -> str:
        """Take from the front of `text`; returns the rest (empty while `status` is MORE)."""
        at = 0
        while at < len(text) and self.status is Scan.MORE:
            if self._streaming:
                at = self._stream(text, at)
            elif self._tail:
                at = self._skip_tail(text, at)
            else:
                at = self._read_head(text, at)
        return text[at:]

    # ── the head: up to the arguments ───────────────────────────────────────────────────────────────────────

    def _read_head(self, text: str, at: int) -> int:
        char = text[at]
        if char == "{" and self._depth == 1 and not self._in_string and self._arguments_begin():
            self._streaming = True
            return at
        self.held += char
        closed_string = self._in_string and char == '"' and not self._escaped
        self._follow(char)
        if closed_string and self._depth == 1 and not self._key_seen:
            self._key_seen = True
            if json_or_none(self.held.strip().removeprefix("{")) not in _HEAD_KEYS:
                self.status = Scan.BROKEN
        elif self._depth == 0:
            self._end_of_object()
        elif len(self.held) > _MAX_HEAD_CHARS or self._no_key_begins(char):
            self.status = Scan.BROKEN
        return at + 1

    def _no_key_begins(self, char: str) -> bool:
        """Whether something else than the first key stands after the object's brace."""
        if self._key_seen or self._in_string or char.isspace():
            return False
        return char != "{" or self._depth > 1

    def _follow(self, char: str) -> None:
        """Depth and strings, one character on."""
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1

    def _arguments_begin(self) -> bool:
        if not _BEFORE_ARGUMENTS.fullmatch(self.held):
            return False
        head = json_or_none(self.held + "null}")
        name = head.get("name") if isinstance(head, dict) else None
        if not isinstance(name, str) or not name or not self._accept(name):
            return False  # the name may follow; the whole object decides
        self._on_name(name)
        self.held = ""
        return True

    def _end_of_object(self) -> None:
        call = json_or_none(self.held)
        name, arguments = _whole_call(call) if isinstance(call, dict) else (None, None)
        if name is None or arguments is None or not self._accept(name):
            self.status = Scan.BROKEN
            return
        self._on_name(name)
        self._on_arguments(arguments)
        self.held = ""
        self.status = Scan.DONE

    # ── the arguments, and what closes the object ───────────────────────────────────────────────────────────

    def _stream(self, text: str, start: int) -> int:
        at = start
        while at < len(text):
            if self._in_string:
                at = self._skip_string(text, at)
                continue
            found = _STRUCTURAL.search(text, at)
            if found is None:
                at = len(text)
                break
            at = found.end()
            self._follow(found.group())
            if self._depth == 1:
                self._streaming = False
                self._tail = not self.bare_arguments
                self.status = Scan.DONE if self.bare_arguments else Scan.MORE
                break
        self._on_arguments(text[start:at])
        return at

    def _skip_string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        found = _STRING_END.search(text, at)
        if found is None:
            return len(text)
        self._follow(found.group())
        return found.end()

    def _skip_tail(self, text: str, at: int) -> int:
        char = text[at]
        if not self.held.strip() and not (char.isspace() or char in ",}"):
            self.status = Scan.DONE  # the object is not closed: what follows is text
            return at
        self.held += char
        self._follow(char)
        if self._depth == 0:
            self.held = ""
            self.status = Scan.DONE
        return at + 1


def json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _ignore(_: str) -> None:
    return None


def _whole_call(call: dict[str, Any]) -> tuple[str | None, str | None]:
    """Name and arguments' JSON text of a call that could not be streamed."""
    call = call["function"] if isinstance(call.get("function"), dict) else call
    name = call.get("name") or call.get("function")
    key = next((key for key in _ARGUMENT_KEYS if key in call), None)
    if not isinstance(name, str) or not name or key is None:
        return None, None
    arguments = call[key]
    if isinstance(arguments, str):  # some models write the object as a string
        inner = json_or_none(arguments)
        return name, arguments if isinstance(inner, dict) else None
    if arguments is None:
        return name, "{}"
    return name, json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else None
