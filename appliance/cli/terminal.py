"""What is written for eyes: safe text, word wrap, tables, quantities. Pure, but for `columns`.

Model output, model names and error messages come from outside: before a terminal sees them, control
characters that could move the cursor, set the title or answer for the user are taken out (`printable`). Files
and pipes get the bytes as they are.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

DIM = "\x1b[2m"
PLAIN = "\x1b[0m"
CLEAR_LINE = "\r\x1b[K"
_COLUMNS = 80
"""Where there is no terminal to ask."""

_UNSAFE = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
# Bidirectional overrides show text in another order than it has.
_UNSAFE |= dict.fromkeys((*range(8234, 8239), *range(8294, 8298)))


def printable(text: str) -> str:
    return text.translate(_UNSAFE)


def width_of(text: str) -> int:
    """Terminal columns: 2 for wide East Asian characters and emoji, 0 for combining marks."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


class Wrapper:
    """Wraps a stream at words: text may already stand at the line's end when its word turns out too long, so
    the piece of the word that was shown is wiped and written again on the next line. Owned by the thread that
    writes.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._column = 0
        self._word = ""

    def feed(self, text: str) -> str:
        """What to write for `text`."""
        return "".join(self._put(char) for char in text)

    def _put(self, char: str) -> str:
        if char == "\n":
            self._column, self._word = 0, ""
            return char
        char = "    " if char == "\t" else char
        width = width_of(char)
        if char.isspace():
            self._word = ""
            if self._column + width > self._columns:
                self._column = 0
                return "\n"
            self._column += width
            return char
        if self._column + width <= self._columns:
            self._column += width
            self._word += char
            return char
        return self._break(char, width)

    def _break(self, char: str, width: int) -> str:
        shown = width_of(self._word)
        if (
            not self._word or shown >= self._column
        ):  # the word is longer than a line, or the break falls between words
            self._column, self._word = width, char
            return "\n" + char
        self._word += char
        self._column = shown + width
        return f"\x1b[{shown}D\x1b[K\n" + self._word


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Borderless, left-aligned, as `ollama ps` and `docker ps` do."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(width_of(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(
            cell + " " * (width - width_of(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def size(size_bytes: int) -> str:
    """Decimal units, two significant digits and more: 980 B, 91 MB, 2.0 GB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:.0f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")


def duration(seconds: float) -> str:
    """12.3ms, 1.25s, 3m05s, 2h10m, 5d3h."""
    if seconds < 1:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 60:
        return f"{seconds:.2f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24}h"


_AGES = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def ago(seconds: float) -> str:
    """3 weeks ago, as `ollama list` and `docker ps` say it."""
    for unit, length in _AGES:
        count = int(seconds // length)
        # Two of a unit are said in it: 10 days are more telling than 1 week.
        if count >= 2 or (count == 1 and unit in {"hour", "minute", "day"}):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def columns() -> int:
    """As `shutil.get_terminal_size` has it, whose module loads three compressors first."""
    with suppress(KeyError, ValueError):
        if (told := int(os.environ["COLUMNS"])) > 0:
            return told
    with suppress(ValueError, OSError):  # closed, or no terminal
        if sys.__stdout__ is not None:
            return os.get_terminal_size(sys.__stdout__.fileno()).columns or _COLUMNS
    return _COLUMNS
