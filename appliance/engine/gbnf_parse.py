"""Reads GBNF as llama.cpp does, into rules that `gbnf_check.py` can reason about. Pure.

It follows `src/llama-grammar.cpp` (`llama_grammar_parser`) step by step, repetition rewriting and its symbol
count included, because the point is to know beforehand what that parser will refuse. Where llama.cpp is
silent (a rule defined twice, a repetition bound above 2,000 that becomes "unlimited", an empty character
class) this one refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn, Union

from appliance.engine.code_points import MAX_CODE_POINT, complement
from appliance.errors import InvalidRequest

MAX_NESTING: Final = 200
MAX_REPETITIONS: Final = 2000
"""llama.cpp's MAX_REPETITION_THRESHOLD, for one bound and for the product of nested ones."""

_NAME = re.compile(r"[a-zA-Z0-9-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_DIGITS = re.compile(r"[0-9]+")
_TOKEN = re.compile(r"!?<(?:\[([0-9]{1,10})\]>|(?!\[)[^>]*>)")
_HEX_LENGTHS: Final = {"x": 2, "u": 4, "U": 8}
_ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_HEX = re.compile(r"[0-9a-fA-F]*")


@dataclass(frozen=True, slots=True)
class Terminal:
    """One character out of `ranges` (inclusive code points), or, without any, one named token of the
    vocabulary.
    """

    ranges: tuple[tuple[int, int], ...]
    token: str | None = None
    """As written: `<[17]>`, `<think>`, and with "!" before it any other token."""


Element = Union[int, Terminal]
"""A rule's index, or a terminal."""

Alternative = tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Grammar:
    rules: tuple[tuple[Alternative, ...], ...]
    names: tuple[str, ...]
    root: int


def parse_gbnf(text: str, *, param: str, max_elements: int) -> Grammar:
    """Raises InvalidRequest (naming `param`) on everything llama.cpp would refuse, and more."""
    return _Parser(text, param, max_elements).grammar()


class _Parser:
    """One parse. Owned by the caller's thread."""

    def __init__(self, text: str, param: str, max_elements: int) -> None:
        self._text = text
        self._param = param
        self._room = max_elements
        self._max_elements = max_elements
        self._ids: dict[str, int] = {}
        self._rules: dict[int, tuple[Alternative, ...]] = {}

    def grammar(self) -> Grammar:
        at = self._skip(0, lines=True)
        while at < len(self._text):
            at = self._rule(at)
        if "root" not in self._ids:
            self._refuse("there is no rule 'root'")
        names = tuple(self._ids)
        for name, number in self._ids.items():
            if number not in self._rules:
                self._refuse(f"rule '{name}' is not defined")
        return Grammar(tuple(self._rules[i] for i in range(len(names))), names, self._ids["root"])

    def _refuse(self, reason: str, at: int | None = None) -> NoReturn:
        line = "" if at is None else f" (line {self._text.count(chr(10), 0, at) + 1})"
        raise InvalidRequest(reason=f"the grammar is not usable: {reason}{line}", param=self._param)

    def _skip(self, at: int, *, lines: bool) -> int:
        found = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, at)
        return found.end() if found else at

    def _peek(self, at: int) -> str:
        return self._text[at : at + 1]

    def _rule(self, at: int) -> int:
        found = _NAME.match(self._text, at)
        if found is None:
            self._refuse("a rule's name is expected", at)
        name = found.group()
        after = self._skip(found.end(), lines=False)
        number = self._symbol(name)
        if self._text[after : after + 3] != "::=":
            self._refuse(f"'::=' is expected after '{name}'", after)
        if number in self._rules:
            self._refuse(f"rule '{name}' is defined twice", at)
        end = self._alternatives(self._skip(after + 3, lines=True), name, number, depth=0)
        if end < len(self._text) and self._text[end] not in "\r\n":
            self._refuse(f"{self._text[end]!r} is not expected here", end)
        return self._skip(end, lines=True)

    def _symbol(self, name: str) -> int:
        return self._ids.setdefault(name, len(self._ids))

    def _synthesised(self, base: str) -> int:
        return self._symbol(f"{base}_{len(self._ids)}")

    def _alternatives(self, at: int, name: str, number: int, *, depth: int) -> int:
        if depth > MAX_NESTING:
            self._refuse(f"parentheses are nested more than {MAX_NESTING} deep", at)
        found: list[Alternative] = []
        while True:
            sequence, at = self._sequence(at, name, depth=depth)
            found.append(sequence)
            if self._peek(at) != "|":
                break
            at = self._skip(at + 1, lines=True)
        self._add(number, tuple(found))
        return at

    def _add(self, number: int, alternatives: tuple[Alternative, ...]) -> None:
        self._room -= sum(len(alternative) + 1 for alternative in alternatives)
        if self._room < 0:
            self._refuse(f"it grows to more than {self._max_elements} elements; repeat less")
        self._rules[number] = alternatives

    def _sequence(self, at: int, name: str, *, depth: int) -> tuple[Alternative, int]:
        sequence: list[Element] = []
        last_start = 0
        weight = 1
        while char := self._peek(at):
            if char in "*+?{":
                low, high, at = self._bounds(at, lines=depth > 0)
                weight = self._repeat(sequence, last_start, (low, high), name, weight, at)
                continue
            last_start, weight, known = len(sequence), 1, len(self._ids)
            if char == "(":
                number = self._synthesised(name)
                at = self._alternatives(self._skip(at + 1, lines=True), name, number, depth=depth + 1)
                weight = max(1, len(self._ids) - known)
                if self._peek(at) != ")":
                    self._refuse("')' is expected", at)
                sequence.append(number)
                at += 1
            else:
                item = self._item(at)
                if item is None:
                    break
                elements, at = item
                sequence.extend(elements)
            at = self._skip(at, lines=depth > 0)
        return tuple(sequence), at

    def _item(self, at: int) -> tuple[list[Element], int] | None:
        char = self._text[at]
        if char == '"':
            return self._literal(at + 1)
        if char == "[":
            terminal, end = self._char_class(at + 1)
            return [terminal], end
        if char == ".":
            return [Terminal(((0, MAX_CODE_POINT),))], at + 1
        if char in "<!":
            return self._token(at)
        found = _NAME.match(self._text, at)
        return None if found is None else ([self._symbol(found.group())], found.end())

    def _literal(self, at: int) -> tuple[list[Element], int]:
        elements: list[Element] = []
        while self._peek(at) != '"':
            code, at = self._char(at)
            elements.append(Terminal(((code, code),)))
        return elements, at + 1

    def _char_class(self, at: int) -> tuple[Terminal, int]:
        start = at
        negated = self._peek(at) == "^"
        at += negated
        ranges: list[tuple[int, int]] = []
        while self._peek(at) != "]":
            low, at = self._char(at)
            high = low
            if self._peek(at) == "-" and self._peek(at + 1) != "]":
                high, at = self._char(at + 1)
            if high < low:
                self._refuse("a character range runs backwards", at)
            ranges.append((low, high))
        if not ranges:
            self._refuse("a character class is empty", start)
        return Terminal(tuple(complement(ranges) if negated else sorted(ranges))), at + 1

    def _char(self, at: int) -> tuple[int, int]:
        char = self._peek(at)
        if not char:
            self._refuse("it ends inside a literal or character class")
        if char != "\\":
            return ord(char), at + 1
        escape = self._peek(at + 1)
        if escape in _HEX_LENGTHS:
            end = at + 2 + _HEX_LENGTHS[escape]
            digits = self._text[at + 2 : end]
            found = _HEX.fullmatch(digits)
            if found is None or len(digits) != _HEX_LENGTHS[escape]:
                self._refuse(f"{_HEX_LENGTHS[escape]} hex digits are expected", at)
            return int(digits, 16), end
        if not escape or escape not in _ESCAPES:
            self._refuse(f"'\\{escape}' is no escape", at)
        return ord(_ESCAPES[escape]), at + 2

    def _token(self, at: int) -> tuple[list[Element], int]:
        found = _TOKEN.match(self._text, at)
        if found is None or (found.group(1) is not None and int(found.group(1)) > 0xFFFFFFFF):
            self._refuse("a token is written <[id]> or <text>", at)
        return [Terminal((), token=found.group())], found.end()

    def _bounds(self, at: int, *, lines: bool) -> tuple[int, int | None, int]:
        char = self._text[at]
        at = self._skip(at + 1, lines=lines)
        if char != "{":
            return (1 if char == "+" else 0), (1 if char == "?" else None), at
        low, at = self._count(at, lines=lines)
        high: int | None = low
        if self._peek(at) == ",":
            at = self._skip(at + 1, lines=lines)
            high = None
            if self._peek(at) != "}":
                high, at = self._count(at, lines=lines)
        if self._peek(at) != "}":
            self._refuse("'}' is expected", at)
        if high is not None and high < low:
            self._refuse(f"{{{low},{high}}} runs backwards", at)
        return low, high, self._skip(at + 1, lines=lines)

    def _count(self, at: int, *, lines: bool) -> tuple[int, int]:
        found = _DIGITS.match(self._text, at)
        if found is None:
            self._refuse("a number is expected", at)
        if len(found.group()) > len(str(MAX_REPETITIONS)) or int(found.group()) > MAX_REPETITIONS:
            self._refuse(f"more than {MAX_REPETITIONS} repetitions", at)
        return int(found.group()), self._skip(found.end(), lines=lines)

    def _repeat(
        self,
        sequence: list[Element],
        start: int,
        bounds: tuple[int, int | None],
        name: str,
        weight: int,
        at: int,
    ) -> int:
        """Rewrite the last item as llama.cpp does; returns the new weight of the item (the rules it stands
        for).
        """
        low, high = bounds
        item = tuple(sequence[start:])
        if not item:
            self._refuse("there is nothing to repeat before */+/?/{", at)
        times = high or low or 1
        if weight * times > MAX_REPETITIONS:
            self._refuse(f"nested repetitions multiply to more than {MAX_REPETITIONS}", at)
        self._room -= len(item) * low
        if self._room < 0:
            self._refuse(f"it grows to more than {self._max_elements} elements; repeat less", at)
        sequence[start:] = item * low
        last: int | None = None
        for _ in range(1 if high is None else high - low):
            number = self._synthesised(name)
            tail = number if high is None else last
            self._add(number, ((*item, *(() if tail is None else (tail,))), ()))
            last = number
        if last is not None:
            sequence.append(last)
        return weight * times
