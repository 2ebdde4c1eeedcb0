"""Modelfile text → instructions. The lexical rules are Ollama's.

    file        = { blank | '#' … end of line | instruction }
    instruction = NAME blanks [ WORD blanks ] value      NAME in any case; WORD after PARAMETER and MESSAGE
    value       = to end of line | '"' … '"' | triple quote … triple quote

A quoted value runs to the first *end of a line* that closes it, so quotes in the middle of a line are text,
and there are no escapes. `#` opens a comment only where an instruction could begin.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from appliance.errors import ModelfileInvalid

MAX_BYTES: Final = 1024 * 1024
MAX_LINES: Final = 10_000

NAMES: Final = (
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
)
ROLES: Final = ("system", "user", "assistant")

_SKIPPED: Final = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_NAME: Final = re.compile(r"[A-Za-z]+(?=[ \t])")
_WORD: Final = re.compile(r"[ \t]*([A-Za-z0-9_]+)(?=[ \t])")
_LINE: Final = re.compile(r"[^\r\n]*")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_COMMANDS: Final = ", ".join(f'"{name}"' for name in NAMES[:-1]) + f', or "{NAMES[-1]}"'
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN: Final = (
    ("\0", "it holds a NUL: this is no text file"),
    ("\ufffe", "it holds U+FFFE: the encoding is wrong"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    name: str
    """Lower case, one of NAMES."""
    word: str
    """The parameter's name or the message's role; "" elsewhere."""
    value: str
    line: int


def decode(content: bytes) -> str:
    """UTF-8, or UTF-16 with its mark. Raises ModelfileInvalid; bad bytes are never replaced silently."""
    if len(content) > MAX_BYTES:
        raise ModelfileInvalid(line=0, reason=f"a Modelfile has at most {MAX_BYTES} bytes")
    mark, encoding = next((row for row in _MARKS if content.startswith(row[0])), (b"", "utf-8"))
    body = content[len(mark) :]
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].decode(encoding, "replace").count("\n") + 1
        raise ModelfileInvalid(line=line, reason=f"the text is not {encoding.upper()}") from error


def instructions(text: str) -> Iterator[Instruction]:
    """In order. Raises ModelfileInvalid at the first fault."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ModelfileInvalid(line=0, reason=f"a Modelfile has at most {MAX_BYTES} bytes")
    if _lines(text) > MAX_LINES:
        raise ModelfileInvalid(line=0, reason=f"a Modelfile has at most {MAX_LINES} lines")
    _refuse_binary(text)
    text = text.removeprefix("\ufeff")
    at, line = 0, 1
    while True:
        start = _skipped(text, at)
        line += _lines(text[at:start])
        if start == len(text):
            return
        instruction, at = _instruction(text, start, line)
        line += _lines(text[start:at])
        yield instruction


def _lines(text: str) -> int:
    """Line ends in it, of any system."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _refuse_binary(text: str) -> None:
    for char, reason in _FOREIGN:
        if (at := text.find(char)) >= 0:
            raise ModelfileInvalid(line=_lines(text[:at]) + 1, reason=reason)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # Only a str can hold one, never a file: it could not be printed back.
        raise ModelfileInvalid(
            line=_lines(text[: error.start]) + 1, reason="it holds half a surrogate pair"
        ) from error


def _skipped(text: str, at: int) -> int:
    found = _SKIPPED.match(text, at)
    return found.end() if found else at


def _instruction(text: str, start: int, line: int) -> tuple[Instruction, int]:
    found = _NAME.match(text, start)
    if found is None or found[0].lower() not in NAMES:
        reason = _misspelt(text, start)
        raise ModelfileInvalid(line=line, reason=reason)
    name, at, word = found[0].lower(), found.end(), ""
    if name in {"parameter", "message"}:
        word, at = _word(text, at, name, line)
    value, at = _value(text, at, line)
    return Instruction(name=name, word=word, value=value, line=line), at


def _misspelt(text: str, start: int) -> str:
    whole = _LINE.match(text, start)
    written = whole[0].strip() if whole else ""
    if written.lower() in NAMES:
        return f"{written.upper()} has no value"
    return f"command must be one of {_COMMANDS}"


def _word(text: str, at: int, name: str, line: int) -> tuple[str, int]:
    found = _WORD.match(text, at)
    if name == "message" and (found is None or found[1] not in ROLES):
        raise ModelfileInvalid(
            line=line, reason='message role must be one of "system", "user", or "assistant", and a text'
        )
    if found is None:
        raise ModelfileInvalid(line=line, reason="a PARAMETER is a name and a value")
    return found[1], found.end()


def _value(text: str, at: int, line: int) -> tuple[str, int]:
    """The value that begins at `at`, without its quotes, and where its last line ends."""
    end = _line_end(text, at)
    first = text[at:end].strip()
    quote = '"""' if first.startswith('"""') else '"' if first.startswith('"') else ""
    if not quote:
        return first, end
    start = text.index('"', at)
    while not _closes(text, start, end, quote):
        if end == len(text):
            raise ModelfileInvalid(
                line=line, reason=f"the value opens with {quote} and no line ends with {quote}"
            )
        line_end = _LINE_END.match(text, end)
        assert line_end is not None
        end = _line_end(text, line_end.end())
    return text[start:end].rstrip()[len(quote) : -len(quote)], end


def _line_end(text: str, at: int) -> int:
    found = _LINE.match(text, at)
    return found.end() if found else len(text)


def _closes(text: str, start: int, end: int, quote: str) -> bool:
    """Whether the value from `start` is closed at this line's `end`. Looks at the line's tail alone: a value
    of a megabyte must not be read again for each of its lines.
    """
    last = end
    while last > start and text[last - 1].isspace() and text[last - 1] not in "\r\n":
        last -= 1
    return last - start >= 2 * len(quote) and text.endswith(quote, start + len(quote), last)
