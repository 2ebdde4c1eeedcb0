"""Go template text → tokens, as Go's own lexer cuts it: trim markers, comments, strings in three kinds of
quotes, numbers. Linear in the text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from appliance.errors import TemplateInvalid

MAX_SOURCE_BYTES: Final = 128 * 1024
_MAX_TOKENS: Final = 50_000
_BLANKS: Final = " \t\r\n"
_BLANK_SET: Final = frozenset(_BLANKS)


class Kind(StrEnum):
    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    SPACE = "space"
    FIELD = "field"
    """`.Name`; the value is without the dot."""
    DOT = "."
    VARIABLE = "variable"
    WORD = "word"
    STRING = "string"
    NUMBER = "number"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    COMMA = ","
    LEFT = "("
    RIGHT = ")"


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    value: str
    line: int
    number: int | float | None = None


_COMMENT_END: Final = re.compile(r"\*/(?:[ \t\r\n]+-)?\}\}")
_CLOSING: Final = re.compile(r"(?:[ \t\r\n]+-)?\}\}")
_IN_ACTION: Final = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)"
    r"(?:[eE][+-]?[0-9]+)?)(?![\w.]))"
    r"|(?P<field>\.[^\W\d]\w*)"
    r"|(?P<variable>\$\w*)"
    r"|(?P<word>[^\W\d]\w*)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)'
    r"|(?P<char>'(?:[^'\\\n]|\\.[0-9a-fA-F]*)')"
    r"|(?P<sign>:=|=|\||,|\(|\)|\.)"
)
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
_ESCAPED: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip


def invalid(line: int, reason: str) -> TemplateInvalid:
    return TemplateInvalid(reason=f"line {line}: {reason}")


def tokens(source: str) -> list[Token]:
    """Raises TemplateInvalid. Empty texts are left out."""
    if len(source) > MAX_SOURCE_BYTES or len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise TemplateInvalid(reason=f"it is larger than {MAX_SOURCE_BYTES} bytes")
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise invalid(source.count("\n", 0, error.start) + 1, "it holds half a surrogate pair") from error
    return _Lexer(source).tokens()


class _Lexer:
    """One pass over one text. Lives inside one call of `tokens`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1
        self._found: list[Token] = []

    def tokens(self) -> list[Token]:
        trims_after = False
        while self._at < len(self._source):
            opening = self._source.find("{{", self._at)
            if opening < 0:
                self._text(len(self._source), trims_after=trims_after)
                break
            trims_before = self._has_mark(opening)
            self._text(opening, trims_after=trims_after, trims_before=trims_before)
            inside = opening + (3 if trims_before else 2)
            trims_after = self._comment(inside) if self._is_comment(inside) else self._action(inside)
        return self._found

    def _add(self, kind: Kind, value: str = "", number: float | None = None) -> None:
        if len(self._found) == _MAX_TOKENS:
            raise TemplateInvalid(reason=f"it has more than {_MAX_TOKENS} parts")
        self._found.append(Token(kind, value, self._line, number))

    def _move(self, end: int) -> None:
        self._line += self._source.count("\n", self._at, end)
        self._at = end

    def _text(self, end: int, *, trims_after: bool = False, trims_before: bool = False) -> None:
        text = self._source[self._at : end]
        text = text.lstrip(_BLANKS) if trims_after else text
        text = text.rstrip(_BLANKS) if trims_before else text
        if text:
            self._add(Kind.TEXT, text)
        self._move(end)

    def _has_mark(self, opening: int) -> bool:
        """`{{-` trims only when a blank follows: `{{-3}}` is a number."""
        after = self._source[opening + 2 : opening + 4]
        return len(after) == 2 and after[0] == "-" and after[1] in _BLANKS

    def _is_comment(self, inside: int) -> bool:
        while self._source[inside : inside + 1] in _BLANK_SET and self._source[inside - 1] != "{":
            inside += 1
        return self._source.startswith("/*", inside)

    def _comment(self, inside: int) -> bool:
        end = self._source.find("*/", self._source.find("/*", inside) + 2)
        found = _COMMENT_END.match(self._source, end) if end >= 0 else None
        if found is None:
            raise invalid(self._line, "a comment is not closed with */}}")
        self._move(found.end())
        return found[0].endswith("-}}")

    def _action(self, inside: int) -> bool:
        """Whether it trims the text behind it."""
        opened = self._line
        self._add(Kind.OPEN)
        self._move(inside)
        while (closing := _CLOSING.match(self._source, self._at)) is None:
            found = _IN_ACTION.match(self._source, self._at)
            if found is None:
                raise self._unexpected(opened)
            self._take(found)
            self._move(found.end())
        self._add(Kind.CLOSE)
        self._move(closing.end())
        return closing[0].endswith("-}}")

    def _unexpected(self, opened: int) -> TemplateInvalid:
        if self._at >= len(self._source):
            return invalid(opened, "an action is not closed with }}")
        return invalid(self._line, f"{self._source[self._at : self._at + 1]!r} cannot stand in an action")

    def _take(self, found: re.Match[str]) -> None:
        kind, text = str(found.lastgroup), found[0]
        if kind == "string":
            self._add(Kind.STRING, text[1:-1].replace("\r", "") if text[0] == "`" else self._unescaped(text))
        elif kind == "char":
            char = self._unescaped(text)
            if len(char) != 1:
                raise invalid(self._line, f"{text} is no character")
            self._add(Kind.NUMBER, text, ord(char))
        elif kind == "number":
            self._add(Kind.NUMBER, text, self._number(text))
        elif kind == "sign":
            self._add(Kind(text), text)
        else:
            self._add(Kind(kind), text.removeprefix(".") if kind == "field" else text)

    def _number(self, text: str) -> int | float:
        digits = text.lstrip("+-")
        try:
            is_octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
            number: int | float = int(text, 8) if is_octal else int(text, 0)
        except ValueError:
            try:
                number = float(text)
            except ValueError as error:
                raise invalid(self._line, f"{text[:80]} is no number") from error
        if isinstance(number, float) and (not math.isfinite(number) or "e" in text.lower()):
            raise invalid(self._line, f"{text[:80]}: numbers with an exponent are not supported")
        if abs(number) >= 1 << 63:
            raise invalid(self._line, f"{text[:80]} is too large a number")
        return number

    def _unescaped(self, text: str) -> str:
        try:
            plain = _ESCAPE.sub(_unescape, text[1:-1])
            plain.encode()
        except ValueError as error:
            raise invalid(self._line, "a string holds an escape that Go does not know") from error
        return plain


def _unescape(found: re.Match[str]) -> str:
    hexadecimal = found[2] or found[3]
    if found[1]:
        return chr(_ascii(int(found[1], 16)))
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    if found[4]:
        return chr(_ascii(int(found[4], 8)))
    if found[5] not in _ESCAPED:
        raise ValueError
    return _ESCAPED[found[5]]


def _ascii(byte: int) -> int:
    if byte > 0x7F:
        raise ValueError  # Go makes a byte of it, which alone is no text
    return byte
