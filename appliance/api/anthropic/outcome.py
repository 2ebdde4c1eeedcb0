"""Why an answer ended and what it took, in Anthropic's words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appliance.wire.messages import Accepted, FinishReason, Usage


def stop_of(
    reason: str | None, stop: str | None, usage: Usage, *, stop_sequences: Sequence[str], max_tokens: int
) -> tuple[str, str | None]:
    """`stop_reason` and `stop_sequence`. `stop`: the string that matched, or one of the model's own."""
    if reason == FinishReason.TOOL_CALLS:
        return "tool_use", None
    if reason == FinishReason.LENGTH:
        is_full = usage.completion_tokens < max_tokens
        return ("model_context_window_exceeded" if is_full else "max_tokens"), None
    if stop is not None and stop in stop_sequences:
        return "stop_sequence", stop
    return "end_turn", None


def usage_object(usage: Usage) -> dict[str, Any]:
    """Anthropic counts what comes from the cache apart from `input_tokens`."""
    return {
        **_input(usage.prompt_tokens, usage.cached_tokens),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def first_usage(accepted: Accepted | None) -> dict[str, Any]:
    """As far as it is known when the answer begins."""
    told = _input(accepted.prompt_tokens, accepted.cached_tokens) if accepted is not None else _input(0, 0)
    return {**told, "output_tokens": 0}


def _input(prompt_tokens: int, cached_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": prompt_tokens - cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
    }
