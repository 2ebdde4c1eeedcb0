"""A chat that is longer than the context, for who has asked in so many words to have it shortened.

Ollama leaves out old messages unasked. Here `"truncate": true` asks for it, and what is left out is told.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from appliance.api.calls import Calls
from appliance.api.exchange import Exchange
from appliance.errors import ContextLengthExceeded
from appliance.supervisor.inference import Generation
from appliance.wire.messages import ChatPrompt, Generate

_TRIES: Final = 6
_MARGIN: Final = 1.1
"""Characters per token are a guess: rather a message too many than one more try."""


def generate_fitting(calls: Calls, exchange: Exchange, model: str, request: Generate) -> Generation:
    """As `Calls.generate`, with the oldest messages left out until it fits."""
    left_out = 0
    for _ in range(_TRIES):
        try:
            generation = calls.generate(exchange, model, request)
        except ContextLengthExceeded as error:
            if not isinstance(request.prompt, ChatPrompt):
                raise
            kept = shortened(request.prompt.messages, error)
            if kept is None:
                raise
            left_out += len(request.prompt.messages) - len(kept)
            request = msgspec.structs.replace(
                request, prompt=msgspec.structs.replace(request.prompt, messages=kept)
            )
        else:
            if left_out:
                exchange.warn(f"'truncate': the {left_out} oldest messages did not fit and were left out")
            return generation
    return calls.generate(exchange, model, request)


def shortened(messages: list[dict[str, Any]], error: ContextLengthExceeded) -> list[dict[str, Any]] | None:
    """Without as many of the oldest as stand for what is too much; None: nothing is left to leave out. What
    the system says stays, and the last question with all that follows it.
    """
    told, most = int(error.fields["prompt_tokens"]), int(error.fields["limit_tokens"])
    chars = sum(_chars(message) for message in messages)
    too_much = chars * max(1, told - most + 1) / max(1, told) * _MARGIN
    last = max((at for at, one in enumerate(messages) if one["role"] == "user"), default=len(messages) - 1)
    dropped: set[int] = set()
    for at, message in enumerate(messages[:last]):
        if message["role"] == "system":
            continue
        if too_much <= 0 and message["role"] == "user":
            break  # never between a call and its result
        dropped.add(at)
        too_much -= _chars(message)
    return [one for at, one in enumerate(messages) if at not in dropped] if dropped else None


def _chars(message: dict[str, Any]) -> int:
    return len(message.get("content") or "") + len(str(message.get("tool_calls") or "")) + 8
