"""Usage, timings and log-probabilities as the wire of HTTP has them. Pure."""

from __future__ import annotations

from typing import Any, Final

from appliance.wire.messages import TokenAlternative, TokenLogprob, Usage

_LEAST_LOGPROB: Final = -9999.0
"""OpenAI's stand-in for minus infinity, which JSON does not have."""


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def timings_object(usage: Usage) -> dict[str, Any]:
    """llama-server's `timings` (tools/server, `result_timings::to_json`)."""
    computed = usage.prompt_tokens - usage.cached_tokens
    told = {
        "cache_n": usage.cached_tokens,
        **_rates("prompt", computed, usage.prefill_s),
        **_rates("predicted", usage.completion_tokens, usage.decode_s),
    }
    if usage.draft_tokens:
        told |= {"draft_n": usage.draft_tokens, "draft_n_accepted": usage.draft_accepted_tokens}
    return told


def _rates(name: str, tokens: int, seconds: float) -> dict[str, float | int]:
    return {
        f"{name}_n": tokens,
        f"{name}_ms": round(seconds * 1000, 3),
        f"{name}_per_token_ms": round(seconds * 1000 / tokens, 3) if tokens else 0.0,
        f"{name}_per_second": round(tokens / seconds, 3) if seconds > 0 else 0.0,
    }


def chat_logprobs(tokens: list[TokenLogprob]) -> dict[str, Any]:
    """OpenAI's chat form. `bytes` is exact where a token is only part of a character and its string is
    not.
    """
    return {"content": logprob_entries(tokens), "refusal": None}


def logprob_entries(tokens: list[TokenLogprob]) -> list[dict[str, Any]]:
    return [{**_entry(token), "top_logprobs": [_entry(other) for other in token.top]} for token in tokens]


def _entry(token: TokenLogprob | TokenAlternative) -> dict[str, Any]:
    return {"token": piece_text(token.piece), "logprob": finite(token.logprob), "bytes": list(token.piece)}


class CompletionLogprobs:
    """The older form of /v1/completions, with its running text offset. Owned by the thread that answers."""

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset

    def object_of(self, tokens: list[TokenLogprob]) -> dict[str, Any]:
        told: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            text = piece_text(token.piece)
            told["tokens"].append(text)
            told["token_logprobs"].append(finite(token.logprob))
            told["top_logprobs"].append(
                {piece_text(other.piece): finite(other.logprob) for other in token.top}
            )
            told["text_offset"].append(self._offset)
            self._offset += len(text)
        return told


def piece_text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """Also turns NaN into the least."""
    return min(logprob, 0.0) if logprob > _LEAST_LOGPROB else _LEAST_LOGPROB
