"""Usage, timings and log-probabilities as the wire of HTTP has them. Pure."""

from __future__ import annotations

from typing import Any

from appliance.api.dialect.logprobs import finite, logprob_entries, piece_text
from appliance.wire.messages import TokenLogprob, Usage


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
    """OpenAI's chat form."""
    return {"content": logprob_entries(tokens), "refusal": None}


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
