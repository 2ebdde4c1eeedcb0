"""POST /api/chat."""

from __future__ import annotations

from typing import Any, ClassVar

import falcon

from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.ollama.answers import ChatAnswer, ChatLine
from appliance.api.ollama.asking import Asking, format_told, thinking_kwargs
from appliance.api.ollama.bodies import ChatBody
from appliance.api.ollama.conversation import wire_messages, wire_tools
from appliance.api.ollama.delivery import Delivery
from appliance.api.ollama.endpoint import body_of, required
from appliance.api.ollama.lines import NDJSON
from appliance.api.openapi.operation import Operation, Operations, Stream, Tag
from appliance.wire.messages import ChatPrompt


class ChatForm:
    """A `lines.Form`."""

    before = b'"message":{"role":"assistant","content":'
    after = b"}"

    def told(self, text: str, *, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        return {"message": message}


class Chat:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Answer a conversation",
            tag=Tag.OLLAMA,
            body=ChatBody,
            answer=ChatAnswer,
            stream=Stream(
                media_type=NDJSON, item=ChatLine, about="A line for each token; with `stream` false, whole."
            ),
            asks_model=True,
            about="Without messages, the model is only loaded, or with `keep_alive` 0 put out.",
            example={"model": "tiny", "messages": [{"role": "user", "content": "Why is the sky blue?"}]},
        )
    }

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange, asking = exchange_of(req), self._asking
        body = body_of(ChatBody, req, exchange, asking.limits)
        model = required(body.model)
        card = asking.calls.find(exchange, model)
        if not body.messages:
            empty = {"message": {"role": "assistant", "content": ""}}
            reply(resp, asking.move(exchange, model) | empty)
            return
        asking.check_thinking(body, model, card)
        request, told = asking.request(body, prompt_of(body), card, exchange)
        if body.debug_render_only:
            reply(resp, asking.rendered(exchange, model, request.prompt))
            return
        generation = asking.generation(body, exchange, model, request, told)
        delivery = Delivery(model=model, form=ChatForm(), exchange=exchange, limits=asking.limits)
        (delivery.stream if body.is_stream else delivery.whole)(resp, generation)


def prompt_of(body: ChatBody) -> ChatPrompt:
    """Raises InvalidRequest, Unsupported."""
    return ChatPrompt(
        messages=wire_messages(body.messages or []),
        tools=wire_tools(body.tools or []),
        response_format=format_told(body.format),
        template_kwargs=thinking_kwargs(body.think),
    )
