"""A whole answer from the same deltas that a stream sends one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from appliance.api.exchange import Exchange
from appliance.api.sse import POLL_S, checked
from appliance.errors import ClientGone, DeadlineExceeded
from appliance.supervisor.inference import Generation
from appliance.wire.messages import Delta, Progress, TokenLogprob, ToolCallDelta, Usage


@dataclass(slots=True)
class Choice:
    """One choice as far as it has come. Owned by the collecting thread."""

    index: int
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    stop: str | None = None
    """The stop string that matched."""

    def add(self, delta: Delta) -> None:
        if delta.text:
            self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        for call in delta.tool_calls:
            self._add_call(call)
        self.logprobs += delta.logprobs
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason.value
            self.stop = delta.stop

    def _add_call(self, call: ToolCallDelta) -> None:
        known = self.tool_calls.setdefault(
            call.index, {"id": None, "type": "function", "function": {"name": None, "arguments": ""}}
        )
        if call.call_id is not None:
            known["id"] = call.call_id
        if call.name is not None:
            known["function"]["name"] = call.name
        known["function"]["arguments"] += call.arguments


def collect(
    generation: Generation, exchange: Exchange, *, n: int, timeout_s: float
) -> tuple[list[Choice], Usage]:
    """Wait for the last delta. Raises as `deltas`."""
    choices = [Choice(index) for index in range(n)]
    usage: Usage | None = None
    for delta in deltas(generation, exchange, timeout_s=timeout_s):
        choices[delta.choice].add(delta)
        usage = delta.usage or usage
    assert usage is not None
    return choices, usage


def deltas(generation: Generation, exchange: Exchange, *, timeout_s: float) -> Iterator[Delta]:
    """All, up to the last. Raises the error that ended the work, ClientGone, or DeadlineExceeded."""
    while True:
        items = generation.next(POLL_S)
        if exchange.gone():
            raise ClientGone
        if exchange.age_s() > timeout_s:
            raise DeadlineExceeded(limit_s=timeout_s)
        for item in items or ():
            if isinstance(item, Progress):
                continue
            exchange.mark_token(item.choice, item.tokens)
            yield checked(item)
            if item.usage is not None:
                exchange.usage, exchange.finish_reason = item.usage, item.finish_reason
                return
