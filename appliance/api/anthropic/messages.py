"""POST /v1/messages: flow 1 in Anthropic's words, on the same way as a chat."""

from __future__ import annotations

from typing import ClassVar

import falcon

from appliance.api import sse
from appliance.api.anthropic import message_request, request_warnings
from appliance.api.anthropic.answers import MessageAnswer, MessageEvent
from appliance.api.anthropic.events import MessageStream, MessageWriter
from appliance.api.anthropic.message import Envelope, broken_calls, envelope_of, whole
from appliance.api.anthropic.schema import MessagesBody
from appliance.api.dialect import stored_defaults
from appliance.api.dialect.collect import collect
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation, Operations, Stream, Tag
from appliance.supervisor.inference import Generation


class Messages(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Answer a conversation",
            tag=Tag.ANTHROPIC,
            body=MessagesBody,
            answer=MessageAnswer,
            stream=Stream(
                media_type="text/event-stream",
                item=MessageEvent,
                about="Whole, or with `stream` as typed events.",
            ),
            asks_model=True,
            errors=(529,),
            example={
                "model": "tiny",
                "max_tokens": 256,
                "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            },
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(MessagesBody, req, exchange)
        fields = message_request.fields_of(body)
        request = message_request.request_of(body, fields, scope=exchange.scope)
        for warning in (*request_warnings.headers_of(req.headers), *request_warnings.of_message(body)):
            exchange.warn(warning)
        request = stored_defaults.applied(request, fields, self._calls.find(exchange, body.model))
        begin = self._calls.begin if body.stream and exchange.wants_progress else self._calls.generate
        generation = begin(exchange, body.model, request)
        if body.stream:
            self._stream(resp, generation, envelope_of(body), exchange)
        else:
            self._whole(resp, generation, envelope_of(body), exchange)

    def _stream(
        self, resp: falcon.Response, generation: Generation, envelope: Envelope, exchange: Exchange
    ) -> None:
        exchange.is_stream = True
        sse.answer(
            resp,
            MessageStream(
                generation,
                MessageWriter(envelope, exchange),
                exchange,
                heartbeat_s=self._limits.heartbeat_s,
                timeout_s=exchange.timeout_s(self._limits.request_timeout_s),
            ),
        )

    def _whole(
        self, resp: falcon.Response, generation: Generation, envelope: Envelope, exchange: Exchange
    ) -> None:
        try:
            timeout_s = exchange.timeout_s(self._limits.request_timeout_s)
            choices, usage = collect(generation, exchange, n=1, timeout_s=timeout_s)
        finally:
            generation.close()
        for name in broken_calls(choices[0]):
            exchange.warn(f"the input of '{name}' is not whole and left empty")
        reply(resp, whole(envelope, choices[0], usage))
