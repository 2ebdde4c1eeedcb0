"""One answer of /v1/responses: whole, or as typed events; then it is kept, before its end is told.

    event: response.created         then response.in_progress, at once
    event: response.…               see `output.py`
    event: response.completed       or response.incomplete (cut at its length), or response.failed: the last

Every event has its `sequence_number`; there is no [DONE].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import falcon

from appliance.api import sse
from appliance.api.calls import Limits
from appliance.api.dialect.collect import deltas
from appliance.api.error_responses import error_object, row_of
from appliance.api.exchange import Exchange
from appliance.api.json_reply import encode, reply
from appliance.api.openai.responses.items import Kept
from appliance.api.openai.responses.kept import KeptResponses
from appliance.api.openai.responses.output import Event, Output
from appliance.api.openai.responses.params import renamed
from appliance.api.openai.responses.response_object import Head
from appliance.errors import OutpostError
from appliance.supervisor.inference import Generation
from appliance.wire.messages import Delta, FinishReason, Usage

_NOT_KEPT: Final = "'store' is ignored: this response is too large to be kept"


class Answer:
    """Owned by the thread that answers."""

    def __init__(
        self, head: Head, exchange: Exchange, kept: KeptResponses, *, conversation: Sequence[Kept]
    ) -> None:
        """`conversation`: all items that are answered."""
        self.head = head
        self.output = Output()
        self._exchange = exchange
        self._kept = kept
        self._conversation = conversation
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def add(self, delta: Delta) -> list[Event]:
        self._reason = delta.finish_reason or self._reason
        self._usage = delta.usage or self._usage
        return self.output.add(delta)

    def ended(self) -> dict[str, Any]:
        """The Response object, after the last delta; it is kept, if it was to be."""
        assert self._usage is not None
        told = self.head.ended(self.output.items, self._usage, self._reason)
        if self.head.is_kept and not self._kept.put(self._exchange.owner, told, inputs=self._conversation):
            self._exchange.warn(_NOT_KEPT)
            told["store"] = False
        return told

    def failed(self, error: Exception) -> dict[str, Any]:
        """The same of one that a fault ended; it is not kept."""
        told = error_object(renamed(error) if isinstance(error, OutpostError) else error)["error"]
        return self.head.object_of("failed", self.output.so_far(), error=told, store=False)


def answer_whole(
    resp: falcon.Response, generation: Generation, answer: Answer, exchange: Exchange, limits: Limits
) -> None:
    try:
        for delta in deltas(generation, exchange, timeout_s=exchange.timeout_s(limits.request_timeout_s)):
            answer.add(delta)
    finally:
        generation.close()
    reply(resp, answer.ended())


class ResponseWriter:
    """The events of one answer. Owned by the thread that streams."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._told = 0

    def opening(self) -> bytes:
        begun = self._answer.head.object_of("in_progress", [])
        return b"".join(
            self._event({"type": kind, "response": begun})
            for kind in ("response.created", "response.in_progress")
        )

    def chunk(self, delta: Delta) -> bytes:
        return b"".join(self._event(event) for event in self._answer.add(delta))

    def closing(self) -> bytes:
        told = self._answer.ended()
        return self._event({"type": f"response.{told['status']}", "response": told})

    def failed(self, error: Exception) -> bytes:
        begun = b"" if self._told else self.opening()
        return begun + self._event({"type": "response.failed", "response": self._answer.failed(error)})

    def _event(self, event: Event) -> bytes:
        kind: str = event["type"]
        numbered = {"type": kind, "sequence_number": self._told, **event}
        self._told += 1
        return b"event: " + kind.encode() + b"\ndata: " + encode(numbered) + b"\n\n"


class ResponseStream(sse.EventStream):
    """Ends as this API ends: with the last event, also after a fault."""

    done = b""

    def __init__(self, generation: Generation, answer: Answer, exchange: Exchange, limits: Limits) -> None:
        self._events_of = ResponseWriter(answer)
        super().__init__(
            generation,
            self._events_of,
            exchange,
            heartbeat_s=limits.heartbeat_s,
            timeout_s=exchange.timeout_s(limits.request_timeout_s),
        )

    def _error_event(self, error: Exception) -> bytes:
        self._exchange.error_code = row_of(error).code
        return self._events_of.failed(error)
