"""A grammar as something that reads bytes. Pure; made from `gbnf_parse.py`, run by `gbnf_automaton.py`.

Tokens are bytes, and may begin or end inside a character. So every character class becomes a small tree over
the bytes of its UTF-8 forms; what is admitted is well-formed UTF-8 by construction (no overlong forms, no
surrogates). NUL is in no class: no token may carry it, as in llama.cpp.

Positions are numbered over the whole grammar; after the last element of each alternative stands an `END`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from appliance.engine.gbnf_parse import Grammar, Terminal

COMPLETE: Final = 0
"""The node after a character's last byte; it has no edges."""

Edge = tuple[int, int, int]
"""Lowest and highest byte, and the node after them."""

_LENGTHS: Final = ((0x01, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
"""Code points of one, two, three (around the surrogates) and four bytes."""
_CONTINUATION_BITS: Final = 6


@dataclass(frozen=True, slots=True)
class End:
    """After the last element of an alternative."""


@dataclass(frozen=True, slots=True)
class Call:
    """A rule; `starts` are the first positions of its alternatives."""

    rule: int


@dataclass(frozen=True, slots=True)
class Char:
    """A character, read from `node` on."""

    node: int


@dataclass(frozen=True, slots=True)
class Token:
    """One whole token of the vocabulary; negated, any other that shows as text."""

    token: int
    negated: bool

    def admits(self, token: int, text: bytes) -> bool:
        return bool(text) and token != self.token if self.negated else token == self.token


END: Final = End()
Place = End | Call | Char | Token


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteGrammar:
    places: tuple[Place, ...]
    starts: tuple[tuple[int, ...], ...]
    """By rule."""
    nodes: tuple[tuple[Edge, ...], ...]
    root: int


def byte_grammar(grammar: Grammar, token_of: Callable[[str], int]) -> ByteGrammar:
    """`token_of`: the id of a token written `<[id]>` or `<text>`, without "!"; raises InvalidRequest."""
    nodes = _Nodes()
    places: list[Place] = []
    starts: list[tuple[int, ...]] = []
    calls = [Call(rule) for rule in range(len(grammar.rules))]
    for rule in grammar.rules:
        begins: list[int] = []
        for alternative in rule:
            begins.append(len(places))
            for element in alternative:
                if isinstance(element, int):
                    places.append(calls[element])
                elif element.token is not None:
                    name = element.token.removeprefix("!")
                    places.append(Token(token_of(name), negated=name != element.token))
                else:
                    places.append(nodes.char(element))
            places.append(END)
        starts.append(tuple(begins))
    return ByteGrammar(
        places=tuple(places), starts=tuple(starts), nodes=tuple(nodes.edges), root=grammar.root
    )


class _Nodes:
    """The trees of all classes; equal ones are one."""

    def __init__(self) -> None:
        self.edges: list[tuple[Edge, ...]] = [()]
        self._numbers: dict[tuple[Edge, ...], int] = {}
        self._chars: dict[Terminal, Char] = {}

    def char(self, terminal: Terminal) -> Char:
        known = self._chars.get(terminal)
        if known is None:
            forms = [form for low, high in _merged(terminal.ranges) for form in _utf8(low, high)]
            known = self._chars[terminal] = Char(self._tree(forms))
        return known

    def _tree(self, forms: list[tuple[tuple[int, int], ...]]) -> int:
        """Forms that share the range of their first byte share an edge."""
        followers: dict[tuple[int, int], list[tuple[tuple[int, int], ...]]] = {}
        for form in forms:
            followers.setdefault(form[0], []).append(form[1:])
        edges = tuple(
            (low, high, COMPLETE if rests == [()] else self._tree(rests))
            for (low, high), rests in followers.items()
        )
        if edges not in self._numbers:
            self._numbers[edges] = len(self.edges)
            self.edges.append(edges)
        return self._numbers[edges]


def _merged(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _utf8(low: int, high: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """The code points low..high as runs of byte ranges, each run a full product."""
    for shortest, longest in _LENGTHS:
        if max(low, shortest) <= min(high, longest):
            yield from _one_length(max(low, shortest), min(high, longest))


def _one_length(low: int, high: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Split where a continuation byte would not run over all its values."""
    first, last = chr(low).encode(), chr(high).encode()
    for following in range(1, len(first)):
        mask = (1 << (_CONTINUATION_BITS * following)) - 1
        if low & ~mask != high & ~mask:
            if low & mask:
                yield from _one_length(low, low | mask)
                yield from _one_length((low | mask) + 1, high)
                return
            if high & mask != mask:
                yield from _one_length(low, (high & ~mask) - 1)
                yield from _one_length(high & ~mask, high)
                return
    yield tuple(zip(first, last, strict=True))
