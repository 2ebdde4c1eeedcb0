"""How the answer of one generation leaves, for chat and completions alike: as events, or whole."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import falcon

from appliance.api import sse
from appliance.api.calls import Limits
from appliance.api.dialect.collect import Choice, collect
from appliance.api.dialect.fields import AnswerFields, GenerationFields
from appliance.api.exchange import Exchange
from appliance.api.json_reply import reply
from appliance.api.openai.chunks import Envelope, tier_object
from appliance.api.openai.usage import timings_object, usage_object
from appliance.supervisor.inference import Generation


class WriterOf(Protocol):
    """Makes the writer of an endpoint's chunks."""

    def __call__(self, envelope: Envelope, *, n: int, with_usage: bool) -> sse.ChunkWriter: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What an endpoint calls its answers."""

    id_prefix: str
    object_: str
    chunk_object: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One answer: its name, and whom it goes to. Used by the thread of the request."""

    form: Form
    id_: str
    created_s: int
    model: str
    fingerprint: str
    n: int
    tier: str | None
    exchange: Exchange
    limits: Limits

    def answer(
        self,
        resp: falcon.Response,
        generation: Generation,
        body: AnswerFields,
        *,
        writer_of: WriterOf,
        choice_object: Callable[[Choice], dict[str, Any]],
        picked: Callable[[list[Choice]], list[Choice]] = lambda choices: choices,
    ) -> None:
        """As the body wishes. A whole answer is waited for; `picked`: which of its choices are told."""
        if body.stream:
            self._stream(resp, generation, writer_of, with_usage=body.wants_usage_chunk)
        else:
            self._whole(resp, generation, choice_object, picked)

    def _stream(
        self, resp: falcon.Response, generation: Generation, writer_of: WriterOf, *, with_usage: bool
    ) -> None:
        self.exchange.is_stream = True
        envelope = Envelope(
            id_=self.id_,
            object_=self.form.chunk_object,
            created_s=self.created_s,
            model=self.model,
            fingerprint=self.fingerprint,
            tier=self.tier,
            with_usage=with_usage,
        )
        sse.answer(
            resp,
            sse.EventStream(
                generation,
                writer_of(envelope, n=self.n, with_usage=with_usage),
                self.exchange,
                heartbeat_s=self.limits.heartbeat_s,
                timeout_s=self.exchange.timeout_s(self.limits.request_timeout_s),
            ),
        )

    def _whole(
        self,
        resp: falcon.Response,
        generation: Generation,
        choice_object: Callable[[Choice], dict[str, Any]],
        picked: Callable[[list[Choice]], list[Choice]],
    ) -> None:
        try:
            timeout_s = self.exchange.timeout_s(self.limits.request_timeout_s)
            choices, usage = collect(generation, self.exchange, n=self.n, timeout_s=timeout_s)
        finally:
            generation.close()
        reply(
            resp,
            {
                "id": self.id_,
                "object": self.form.object_,
                "created": self.created_s,
                "model": self.model,
                "system_fingerprint": self.fingerprint,
                **tier_object(self.tier),
                "choices": [choice_object(choice) for choice in picked(choices)],
                "usage": usage_object(usage),
                "timings": timings_object(usage),
            },
        )


def delivery_of(
    form: Form,
    exchange: Exchange,
    limits: Limits,
    body: GenerationFields,
    *,
    fingerprint: str,
    n: int,
) -> Delivery:
    """With a new id, created now."""
    return Delivery(
        form=form,
        id_=f"{form.id_prefix}-{secrets.token_hex(12)}",
        created_s=int(time.time()),
        model=body.model,
        fingerprint=fingerprint,
        n=n,
        tier=body.service_tier,
        exchange=exchange,
        limits=limits,
    )
