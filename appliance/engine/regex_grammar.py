r"""A bounded part of regular expressions, as GBNF inside a JSON string. Pure.

Taken: `^…$`, literals, `.`, classes with ranges and \d \w \s, groups `(…)` and `(?:…)`, `|`, and
`* + ? {m} {m,} {m,n}`. Refused: everything else (look-around, back-references, anchors inside), and endless
repetition of what may be empty. Nested repetition is harmless to a grammar; its size is the concern of
`gbnf_check.py`. Characters that JSON must escape are written escaped where they stand alone, and left out of
classes: what is generated always matches.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from appliance.engine.code_points import complement
from appliance.engine.grammar_text import literal
from appliance.errors import InvalidRequest

MAX_BYTES: Final = 256
_MAX_TIMES: Final = 500
_MAX_DEPTH: Final = 16
_CLASSES: Final = {"d": [(48, 57)], "w": [(48, 57), (65, 90), (95, 95), (97, 122)], "s": [(32, 32)]}
"""`\\s` is the blank only: other white space has no place raw in a JSON string."""
_ESCAPED_IN_JSON: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t"}
_BRACES = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{1,4})?)?\}")
_ANY: Final = r"[^\"\\\x00-\x1F\x7F]"


def pattern_body(pattern: object, *, param: str) -> str:
    """The GBNF of what may stand between the quotes. Raises InvalidRequest."""
    if not isinstance(pattern, str) or len(pattern.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InvalidRequest(reason=f"a pattern of at most {MAX_BYTES} bytes is expected", param=param)
    if not pattern.startswith("^") or not pattern.endswith("$") or pattern.endswith("\\$"):
        raise InvalidRequest(reason="a pattern must be anchored: ^…$", param=param)
    return _Pattern(pattern[1:-1], param).body()


class _Pattern:
    """One pattern. Owned by the thread that compiles."""

    def __init__(self, text: str, param: str) -> None:
        self._text = text
        self._param = param
        self._at = 0

    def body(self) -> str:
        body, _ = self._alternatives(depth=0)
        if self._at < len(self._text):
            self._refuse("an unmatched ')'")
        # Without the parentheses "^a|b$" would end the string early.
        return f"({body})"

    def _refuse(self, what: str) -> NoReturn:
        raise InvalidRequest(reason=f"{what} is not supported (at {self._at + 1})", param=self._param)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            self._refuse("a pattern that ends here")
        self._at += 1
        return char

    def _alternatives(self, *, depth: int) -> tuple[str, bool]:
        """The body, and whether it may be empty."""
        if depth > _MAX_DEPTH:
            self._refuse(f"nesting over {_MAX_DEPTH}")
        sequences = [self._sequence(depth=depth)]
        while self._peek() == "|":
            self._at += 1
            sequences.append(self._sequence(depth=depth))
        return " | ".join(body for body, _ in sequences), any(empty for _, empty in sequences)

    def _sequence(self, *, depth: int) -> tuple[str, bool]:
        parts: list[str] = []
        may_be_empty = True
        while self._peek() not in {"", "|", ")"}:
            part, empty = self._atom(depth=depth)
            times = self._quantifier()
            if empty and times and (times in "*+" or times.endswith(",}")):
                self._refuse("an endless repetition of what may be empty")
            may_be_empty = may_be_empty and (empty or times in {"*", "?"} or times.startswith("{0"))
            parts.append(part + times)
        return " ".join(parts), may_be_empty

    def _atom(self, *, depth: int) -> tuple[str, bool]:
        char = self._take()
        if char == "(":
            if self._peek() == "?":
                self._at += 1
                if self._take() != ":":
                    self._refuse("this kind of group")
            body, empty = self._alternatives(depth=depth + 1)
            if self._take() != ")":
                self._refuse("a group that is not closed")
            return f"({body})", empty
        if char == "[":
            return self._class(), False
        if char == ".":
            return _ANY, False
        if char in "^$*+?{}":
            self._refuse(f"{char!r} here")
        if char == "\\":
            return self._escape(), False
        return _alone(char), False

    def _escape(self) -> str:
        char = self._take()
        if char in _CLASSES:
            return _class_text(_CLASSES[char])
        if char in _CONTROL:
            return _alone(_CONTROL[char])
        if char.isalnum():
            self._refuse(f"'\\{char}'")
        return _alone(char)

    def _class(self) -> str:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while (char := self._take()) != "]" or not ranges:
            low = self._class_item(char, ranges)
            if low is None:
                continue
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                above = self._class_item(self._take(), ranges)
                if above is None or above < low:
                    self._refuse("a range that runs backwards")
                high = above
            ranges.append((low, high))
        allowed = _without_escaped(complement(ranges) if negated else ranges)
        if not allowed:
            self._refuse("a class without characters that stand unescaped in JSON")
        return _class_text(allowed)

    def _class_item(self, char: str, ranges: list[tuple[int, int]]) -> int | None:
        r"""A code point; None after adding a class such as \d whole."""
        if char == "[":
            self._refuse("'[' inside a class")
        if char != "\\":
            return ord(char)
        char = self._take()
        if char in _CLASSES:
            ranges += _CLASSES[char]
            return None
        if char in _CONTROL:
            return ord(_CONTROL[char])
        if char.isalnum():
            self._refuse(f"'\\{char}'")
        return ord(char)

    def _quantifier(self) -> str:
        char = self._peek()
        if char in {"*", "+", "?"}:
            self._at += 1
            times = char
        elif char == "{":
            found = _BRACES.match(self._text, self._at)
            if found is None:
                self._refuse("'{' here")
            self._at = found.end()
            times = self._checked(found)
        else:
            return ""
        if self._peek() in {"?", "+", "*", "{"}:
            self._refuse("a second quantifier")
        return times

    def _checked(self, found: re.Match[str]) -> str:
        low, high = int(found[1]), int(found[3]) if found[3] else None
        if low > _MAX_TIMES or (high is not None and (high > _MAX_TIMES or high < low)):
            self._refuse(f"a repetition that runs backwards or beyond {_MAX_TIMES}")
        return found[0]


def _alone(char: str) -> str:
    return literal(_ESCAPED_IN_JSON.get(char) or (char if char >= " " else f"\\u{ord(char):04x}"))


def _without_escaped(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Less the controls, the quote, the backslash and DEL."""
    kept: list[tuple[int, int]] = []
    for low, high in ranges:
        for start, end in ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF)):
            if max(low, start) <= min(high, end):
                kept.append((max(low, start), min(high, end)))
    return kept


def _class_text(ranges: list[tuple[int, int]]) -> str:
    return (
        "[" + "".join(_point(low) + (f"-{_point(high)}" if high > low else "") for low, high in ranges) + "]"
    )


def _point(code: int) -> str:
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\U{code:08X}"
