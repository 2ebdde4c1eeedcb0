"""Text to tokens with bounded work: what cannot fit is refused before, or in the middle of, its tokenising.

Tokenising a megabyte of ordinary text takes a tenth of a second, of hostile text (one "word" of it) seconds,
and cannot be interrupted. So a long text is tokenised by its beginnings, each twice the last, until one has
more tokens than fit; and a text longer than the limit's worth of the vocabulary's longest pieces is never
tokenised whole.
"""

from __future__ import annotations

from typing import Final, Protocol

from appliance.errors import ContextLengthExceeded

_BYTES_PER_TOKEN: Final = 16
"""Text of up to so many bytes for each token that fits is tokenised at once: ordinary text has 3 to 5."""
_CUT_TOKENS: Final = 32
"""A beginning ends in the middle of a word: its last tokens may differ from those of the whole."""


class Tokenizer(Protocol):
    """`LlamaModel` is one."""

    @property
    def longest_piece_bytes(self) -> int: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...


def fitting_tokens(
    tokenizer: Tokenizer, text: str, *, limit: int, add_special: bool, parse_special: bool
) -> list[int]:
    """All tokens of `text`. Raises ContextLengthExceeded for a long text that surely has over `limit`, with
    a count projected from its beginning.
    """
    check_fits(tokenizer, text, limit=limit, parse_special=parse_special)
    return tokenizer.tokenize(text, add_special=add_special, parse_special=parse_special)


def check_fits(tokenizer: Tokenizer, text: str, *, limit: int, parse_special: bool = True) -> None:
    """`fitting_tokens` without its last step: what passes may still have a few tokens too many."""
    is_hopeless = len(text) > _BYTES_PER_TOKEN * limit and len(text) > limit * tokenizer.longest_piece_bytes
    for part in _beginnings(tokenizer, text, limit):
        counted = len(tokenizer.tokenize(part, add_special=False, parse_special=parse_special))
        if is_hopeless or counted >= limit + _CUT_TOKENS:
            projected = max(limit + 1, counted * len(text) // len(part))
            raise ContextLengthExceeded(prompt_tokens=projected, limit_tokens=limit, is_projected=True)


def first_tokens(
    tokenizer: Tokenizer, text: str, *, limit: int, add_special: bool, parse_special: bool
) -> list[int]:
    """The first tokens of `text`: all, or at least `limit` of them as they are in the whole."""
    for part in _beginnings(tokenizer, text, limit):
        tokens = tokenizer.tokenize(part, add_special=add_special, parse_special=parse_special)
        if len(tokens) >= limit + _CUT_TOKENS or len(part) >= limit * tokenizer.longest_piece_bytes:
            return tokens[: max(limit, len(tokens) - _CUT_TOKENS)]
    return tokenizer.tokenize(text, add_special=add_special, parse_special=parse_special)


def _beginnings(tokenizer: Tokenizer, text: str, limit: int) -> list[str]:
    """Growing beginnings of a long text, the whole not among them. Characters are at most as many as bytes.

    No text over `limit` times the longest piece fits, so that a beginning of that length is the last.
    """
    size = _BYTES_PER_TOKEN * limit
    if len(text) <= size:
        return []
    most = limit * tokenizer.longest_piece_bytes
    sizes: list[int] = []
    while size < min(len(text), most):
        sizes.append(size)
        size *= 2
    if most < len(text):
        sizes.append(most)
    return [text[:size] for size in sizes]
