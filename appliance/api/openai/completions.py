"""POST /v1/completions: text in, text out; one or several prompts."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import falcon

from appliance.api.calls import Calls, Limits
from appliance.api.dialect import stored_defaults
from appliance.api.dialect.collect import Choice
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import encode
from appliance.api.openai import completion_request
from appliance.api.openai.answers import CompletionAnswer
from appliance.api.openai.batch import generate_all
from appliance.api.openai.best import best_of
from appliance.api.openai.chunks import Envelope
from appliance.api.openai.delivery import Form, delivery_of
from appliance.api.openai.schema import CompletionBody
from appliance.api.openai.usage import CompletionLogprobs, timings_object
from appliance.api.openapi.operation import Operation, Operations, Stream, Tag
from appliance.wire.messages import Delta, Usage

FORM: Final = Form(id_prefix="cmpl", object_="text_completion", chunk_object="text_completion")


class Completions(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Continue a text, or several",
            tag=Tag.OPENAI,
            body=CompletionBody,
            answer=CompletionAnswer,
            stream=Stream(
                media_type="text/event-stream",
                item=CompletionAnswer,
                about="Whole, or with `stream` as events.",
            ),
            asks_model=True,
            example={"model": "tiny", "prompt": "Once upon a time", "max_tokens": 32},
        )
    }

    def __init__(self, calls: Calls, limits: Limits, *, fingerprint: str) -> None:
        super().__init__(calls, limits)
        self._fingerprint = fingerprint

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(CompletionBody, req, exchange)
        requests = completion_request.requests_of(
            body, scope=exchange.scope, raw_grammar=self._limits.raw_grammar
        )
        card = self._calls.find(exchange, body.model)
        requests = [stored_defaults.applied(request, body, card) for request in requests]
        n = sum(request.n for request in requests)
        delivery = delivery_of(FORM, exchange, self._limits, body, fingerprint=self._fingerprint, n=n)
        is_early = bool(body.stream) and exchange.wants_progress
        generation = generate_all(self._calls, exchange, body.model, requests, is_early=is_early)
        with_logprobs = body.logprobs is not None
        delivery.answer(
            resp,
            generation,
            body,
            writer_of=CompletionChunkWriter,
            choice_object=lambda choice: _choice_object(choice, with_logprobs=with_logprobs),
            picked=lambda choices: best_of(choices, made=requests[0].n, kept=body.n or 1),
        )


def _choice_object(choice: Choice, *, with_logprobs: bool) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": "".join(choice.text),
        "logprobs": CompletionLogprobs().object_of(choice.logprobs) if with_logprobs else None,
        "finish_reason": choice.finish_reason,
    }


class CompletionChunkWriter:
    """Chunks of one completion stream. Owned by the thread that streams."""

    def __init__(self, envelope: Envelope, *, n: int, with_usage: bool) -> None:
        self._envelope = envelope
        self._with_usage = with_usage
        self._usage: Usage | None = None
        self._heads = [envelope.choice_head(index, b'"text":') for index in range(n)]
        self._logprobs = [CompletionLogprobs() for _ in range(n)]
        self._tail = b',"logprobs":null,"finish_reason":null}' + envelope.tail

    def opening(self) -> bytes:
        return b""

    def chunk(self, delta: Delta) -> bytes:
        if delta.finish_reason is None and not delta.logprobs:
            if not delta.text:
                return b""
            return self._heads[delta.choice] + encode(delta.text) + self._tail
        logprobs = self._logprobs[delta.choice].object_of(delta.logprobs) if delta.logprobs else None
        tail = self._envelope.tail
        if delta.usage is not None:
            self._usage = delta.usage
            tail = self._envelope.tail_with(timings_object(delta.usage))
        end = b',"logprobs":' + encode(logprobs) + b',"finish_reason":' + encode(delta.finish_reason) + b"}"
        return self._heads[delta.choice] + encode(delta.text) + end + tail

    def closing(self) -> bytes:
        if not self._with_usage or self._usage is None:
            return b""
        return self._envelope.usage(self._usage)
