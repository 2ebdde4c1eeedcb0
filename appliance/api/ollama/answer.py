"""What answers of chat and generate share: tool calls put together, log-probabilities, the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from appliance.api.dialect.logprobs import logprob_entries
from appliance.api.exchange import Exchange
from appliance.api.ollama.stamps import nanoseconds
from appliance.wire.messages import FinishReason, TokenLogprob, ToolCallDelta, Usage

_DONE_REASONS: Final = {FinishReason.LENGTH: "length"}
"""Everything else is "stop": Ollama has no word of its own for an answer that ends with calls."""


class CallParts:
    """Calls as their arguments come in pieces. Owned by the thread that answers."""

    def __init__(self) -> None:
        self._index = -1
        self._id: str | None = None
        self._name = ""
        self._arguments: list[str] = []

    def add(self, deltas: Sequence[ToolCallDelta]) -> tuple[list[dict[str, Any]], str]:
        """Calls that are whole now, since the next one begins; and text that is none."""
        whole: list[dict[str, Any]] = []
        rest = ""
        for delta in deltas:
            if delta.index != self._index:
                calls, text = self.end()
                whole += calls
                rest += text
                self._index, self._id, self._name = delta.index, delta.call_id, delta.name or ""
            self._arguments.append(delta.arguments)
        return whole, rest

    def end(self) -> tuple[list[dict[str, Any]], str]:
        """The one under way. Arguments that are no object (the answer was cut off) are no call: they are told
        as text, since Ollama's form has no other place for them.
        """
        if self._index < 0:
            return [], ""
        text = "".join(self._arguments)
        index, name, call_id = self._index, self._name, self._id
        self._index, self._arguments = -1, []
        arguments = _object_of(text)
        if arguments is None:
            return [], text
        function = {"index": index, "name": name, "arguments": arguments}
        return [{**({} if call_id is None else {"id": call_id}), "function": function}], ""


def _object_of(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def logprobs_of(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in entry.items() if name != "top_logprobs" or value}
        for entry in logprob_entries(list(tokens))
    ]


def end_of(exchange: Exchange, usage: Usage | None, reason: FinishReason | str | None) -> dict[str, Any]:
    """What the last object says beside the answer; counts and times of zero are left out, as in Ollama."""
    told: dict[str, Any] = {"done": True, "done_reason": _reason(reason)}
    figures = {
        "total_duration": nanoseconds(exchange.age_s()),
        "load_duration": nanoseconds(exchange.queued_s),
        "prompt_eval_count": usage.prompt_tokens if usage else 0,
        "prompt_eval_duration": nanoseconds(usage.prefill_s) if usage else 0,
        "eval_count": usage.completion_tokens if usage else 0,
        "eval_duration": nanoseconds(usage.decode_s) if usage else 0,
    }
    return told | {name: value for name, value in figures.items() if value}


def _reason(reason: FinishReason | str | None) -> str:
    return _DONE_REASONS.get(FinishReason(reason), "stop") if reason is not None else "stop"
