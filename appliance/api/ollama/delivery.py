"""How an answer leaves, for chat and generate alike: as lines, or whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import falcon

from appliance.api.calls import Limits
from appliance.api.dialect.collect import Choice, collect
from appliance.api.exchange import Exchange
from appliance.api.json_reply import reply
from appliance.api.ollama import lines
from appliance.api.ollama.answer import CallParts, end_of, logprobs_of
from appliance.api.ollama.lines import Form, LineStream, LineWriter
from appliance.api.ollama.stamps import now
from appliance.supervisor.inference import Generation
from appliance.wire.messages import ToolCallDelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One answer. Used by the thread of the request."""

    model: str
    """As it was asked for."""
    form: Form
    exchange: Exchange
    limits: Limits
    more: Callable[[str], dict[str, Any]] | None = None
    """What the end also says, of the whole text."""

    def stream(self, resp: falcon.Response, generation: Generation) -> None:
        self.exchange.is_stream = True
        lines.answer(
            resp,
            LineStream(
                generation,
                LineWriter(self.model, self.form, self.exchange, more=self.more),
                self.exchange,
                heartbeat_s=self.limits.heartbeat_s,
                timeout_s=self._timeout_s,
            ),
        )

    def whole(self, resp: falcon.Response, generation: Generation) -> None:
        """Waits for it. Raises what ended the work."""
        try:
            (choice,), usage = collect(generation, self.exchange, n=1, timeout_s=self._timeout_s)
        finally:
            generation.close()
        reply(resp, self._object(choice) | end_of(self.exchange, usage, choice.finish_reason))

    def _object(self, choice: Choice) -> dict[str, Any]:
        calls, cut = _calls_of(choice)
        text = "".join(choice.text) + cut
        told: dict[str, Any] = {"model": self.model, "created_at": now()}
        told |= self.form.told(text, thinking="".join(choice.reasoning), calls=calls)
        if choice.logprobs:
            told["logprobs"] = logprobs_of(choice.logprobs)
        return told if self.more is None else told | self.more(text)

    @property
    def _timeout_s(self) -> float:
        return self.exchange.timeout_s(self.limits.request_timeout_s)


def _calls_of(choice: Choice) -> tuple[list[dict[str, Any]], str]:
    parts = CallParts()
    calls, cut = parts.add(
        [
            ToolCallDelta(index, call["id"], call["function"]["name"], call["function"]["arguments"])
            for index, call in sorted(choice.tool_calls.items())
        ]
    )
    last, rest = parts.end()
    return calls + last, cut + rest
