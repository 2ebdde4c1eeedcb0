"""Log-probabilities of tokens, in the form that OpenAI and Ollama share. Pure."""

from __future__ import annotations

from typing import Any, Final

from appliance.api.answers import Answer
from appliance.wire.messages import TokenAlternative, TokenLogprob

_LEAST_LOGPROB: Final = -9999.0
"""OpenAI's stand-in for minus infinity, which JSON does not have."""


class AlternativeLogprob(Answer):
    token: str
    logprob: float
    bytes: list[int]


def logprob_entries(tokens: list[TokenLogprob]) -> list[dict[str, Any]]:
    """`bytes` is exact where a token is only part of a character and its string is not."""
    return [{**_entry(token), "top_logprobs": [_entry(other) for other in token.top]} for token in tokens]


def _entry(token: TokenLogprob | TokenAlternative) -> dict[str, Any]:
    return {"token": piece_text(token.piece), "logprob": finite(token.logprob), "bytes": list(token.piece)}


def piece_text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """Also turns NaN into the least."""
    return min(logprob, 0.0) if logprob > _LEAST_LOGPROB else _LEAST_LOGPROB
