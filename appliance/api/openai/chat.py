"""POST /v1/chat/completions: flow 1 from the body to the last byte."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import falcon

from appliance.api.calls import Calls, Limits
from appliance.api.dialect import stored_defaults
from appliance.api.dialect.collect import Choice
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import encode
from appliance.api.openai import chat_request
from appliance.api.openai.answers import ChatAnswer, ChatChunk
from appliance.api.openai.chat_warnings import warnings_of
from appliance.api.openai.chunks import Envelope
from appliance.api.openai.delivery import Form, delivery_of
from appliance.api.openai.schema import ChatBody
from appliance.api.openai.usage import chat_logprobs, timings_object
from appliance.api.openapi.operation import Operation, Operations, Stream, Tag
from appliance.wire.messages import Delta, ToolCallDelta, Usage

FORM: Final = Form(id_prefix="chatcmpl", object_="chat.completion", chunk_object="chat.completion.chunk")


class ChatCompletions(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Answer a conversation",
            tag=Tag.OPENAI,
            body=ChatBody,
            answer=ChatAnswer,
            stream=Stream(
                media_type="text/event-stream", item=ChatChunk, about="Whole, or with `stream` as events."
            ),
            asks_model=True,
            example={"model": "tiny", "messages": [{"role": "user", "content": "Why is the sky blue?"}]},
        )
    }

    def __init__(self, calls: Calls, limits: Limits, *, fingerprint: str) -> None:
        super().__init__(calls, limits)
        self._fingerprint = fingerprint

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(ChatBody, req, exchange)
        request = chat_request.request_of(body, scope=exchange.scope, raw_grammar=self._limits.raw_grammar)
        for warning in warnings_of(body):
            exchange.warn(warning)
        request = stored_defaults.applied(request, body, self._calls.find(exchange, body.model))
        delivery = delivery_of(
            FORM,
            exchange,
            self._limits,
            body,
            fingerprint=self._fingerprint,
            n=request.n,
        )
        begin = self._calls.begin if body.stream and exchange.wants_progress else self._calls.generate
        generation = begin(exchange, body.model, request)
        with_logprobs = request.top_logprobs is not None
        delivery.answer(
            resp,
            generation,
            body,
            writer_of=ChatChunkWriter,
            choice_object=lambda choice: _choice_object(choice, with_logprobs=with_logprobs),
        )


def _choice_object(choice: Choice, *, with_logprobs: bool) -> dict[str, Any]:
    text, reasoning = "".join(choice.text), "".join(choice.reasoning)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if choice.tool_calls:
        message["content"] = text or None
        message["tool_calls"] = [choice.tool_calls[index] for index in sorted(choice.tool_calls)]
    if reasoning:
        message |= {"reasoning_content": reasoning, "reasoning": reasoning}
    return {
        "index": choice.index,
        "message": message,
        "logprobs": chat_logprobs(choice.logprobs) if with_logprobs else None,
        "finish_reason": choice.finish_reason,
    }


class ChatChunkWriter:
    """Chunks of one chat stream. Owned by the thread that streams."""

    def __init__(self, envelope: Envelope, *, n: int, with_usage: bool) -> None:
        self._envelope = envelope
        self._with_usage = with_usage
        self._usage: Usage | None = None
        self._heads = [envelope.choice_head(index, b'"delta":{') for index in range(n)]
        self._tail = b'},"logprobs":null,"finish_reason":null}' + envelope.tail

    def opening(self) -> bytes:
        """The role of each choice: sent as soon as the request is accepted, and so with the true status."""
        return b"".join(head + b'"role":"assistant","content":""' + self._tail for head in self._heads)

    def chunk(self, delta: Delta) -> bytes:
        if delta.finish_reason is None and not (delta.logprobs or delta.reasoning or delta.tool_calls):
            if not delta.text:
                return b""
            return self._heads[delta.choice] + b'"content":' + encode(delta.text) + self._tail
        return self._rare(delta)

    def closing(self) -> bytes:
        if not self._with_usage or self._usage is None:
            return b""
        return self._envelope.usage(self._usage)

    def _rare(self, delta: Delta) -> bytes:
        """Everything but plain text: one event for the gain, then one for the end."""
        event = b""
        gain = _gain(delta)
        if gain or delta.logprobs:
            logprobs = b"null" if not delta.logprobs else encode(chat_logprobs(delta.logprobs))
            tail = b'},"logprobs":' + logprobs + b',"finish_reason":null}' + self._envelope.tail
            event = self._heads[delta.choice] + encode(gain)[1:-1] + tail
        if delta.finish_reason is None:
            return event
        return event + self._end(delta)

    def _end(self, delta: Delta) -> bytes:
        """An empty delta with the reason; the last one of the request also has the timings."""
        tail = self._envelope.tail
        if delta.usage is not None:
            self._usage = delta.usage
            tail = self._envelope.tail_with(timings_object(delta.usage))
        return (
            self._heads[delta.choice]
            + b'},"logprobs":null,"finish_reason":'
            + encode(delta.finish_reason)
            + b"}"
            + tail
        )


def _gain(delta: Delta) -> dict[str, Any]:
    """What the message gained, as OpenAI's `delta`."""
    gain: dict[str, Any] = {}
    if delta.reasoning:
        gain |= {"reasoning_content": delta.reasoning, "reasoning": delta.reasoning}
    if delta.text:
        gain["content"] = delta.text
    if delta.tool_calls:
        gain["tool_calls"] = [_call_object(call) for call in delta.tool_calls]
    return gain


def _call_object(call: ToolCallDelta) -> dict[str, Any]:
    function: dict[str, str] = {"arguments": call.arguments}
    if call.call_id is None:
        return {"index": call.index, "function": function}
    function = {"name": call.name or "", **function}
    return {"index": call.index, "id": call.call_id, "type": "function", "function": function}
