"""The routes below /v1/responses. What is kept is its owner's alone: to all others it does not exist."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import falcon

from appliance.api import sse
from appliance.api.calls import Calls, Limits
from appliance.api.dialect import stored_defaults
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.dialect.validation import validated
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.openai import chat_request
from appliance.api.openai.responses import request
from appliance.api.openai.responses.answer import Answer, ResponseStream, answer_whole
from appliance.api.openai.responses.answers import (
    DeletedResponse,
    InputItemsAnswer,
    ResponseEvent,
    ResponseObject,
)
from appliance.api.openai.responses.items import Kept, kept_of
from appliance.api.openai.responses.kept import KeptResponses
from appliance.api.openai.responses.params import told_here
from appliance.api.openai.responses.response_object import head_of
from appliance.api.openai.responses.schema import ResponseBody
from appliance.api.openai.schema import ChatBody
from appliance.api.openapi.operation import Operation, Operations, Parameter, Stream, Tag
from appliance.api.visible import shown
from appliance.errors import (
    InvalidRequest,
    PreviousResponseNotFound,
    ResponseNotFound,
    Unsupported,
)

_PAGE: Final = 20
_MOST: Final = 100
_PATH: Final = {"response_id": "Its id."}
_INCLUDE: Final = Parameter(name="include", about="Taken; what there is, is there anyway.")


class Responses(Endpoint):
    """POST /v1/responses. Stateless but for `kept`; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Answer a conversation, and keep the answer",
            tag=Tag.OPENAI,
            body=ResponseBody,
            answer=ResponseObject,
            stream=Stream(
                media_type="text/event-stream",
                item=ResponseEvent,
                about="Whole, or with `stream` as typed events, without `[DONE]`.",
            ),
            asks_model=True,
            example={"model": "tiny", "input": "Why is the sky blue?"},
        )
    }

    def __init__(self, calls: Calls, limits: Limits, kept: KeptResponses) -> None:
        super().__init__(calls, limits)
        self._kept = kept

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(ResponseBody, req, exchange)
        past, asked = self._past(body, exchange), kept_of(body.input)
        with told_here():
            chat = validated(ChatBody, request.chat_of(body, past=past, asked=asked), exchange)
            generate = chat_request.request_of(chat, scope=exchange.scope, raw_grammar=False)
        for warning in request.warnings_of(body, chat):
            exchange.warn(warning)
        head = head_of(body, is_kept=self._is_to_be_kept(body, exchange))
        answer = Answer(head, exchange, self._kept, conversation=[*past, *asked])
        generate = stored_defaults.applied(generate, chat, self._calls.find(exchange, body.model))
        begin = self._calls.begin if body.stream and exchange.wants_progress else self._calls.generate
        with told_here():
            generation = begin(exchange, body.model, generate)
            if not body.stream:
                answer_whole(resp, generation, answer, exchange, self._limits)
                return
        exchange.is_stream = True
        sse.answer(resp, ResponseStream(generation, answer, exchange, self._limits))

    def _past(self, body: ResponseBody, exchange: Exchange) -> list[Kept]:
        """What was said before, of the response that `body` goes on from."""
        if body.previous_response_id is None:
            return []
        try:
            return self._kept.get(exchange.owner, body.previous_response_id).conversation()
        except ResponseNotFound as error:
            raise PreviousResponseNotFound(response_id=body.previous_response_id) from error

    def _is_to_be_kept(self, body: ResponseBody, exchange: Exchange) -> bool:
        if self._kept.is_off:
            if body.store:
                exchange.warn("'store' is ignored: this Outpost keeps no responses")
            return False
        return body.store is not False


class Response:
    """GET and DELETE /v1/responses/{id}. Any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="An answer that was kept",
            tag=Tag.OPENAI,
            answer=ResponseObject,
            path=_PATH,
            parameters=(
                _INCLUDE,
                Parameter(
                    name="stream",
                    about="It is given whole.",
                    schema={"type": "string", "enum": ["false"]},
                ),
            ),
            errors=(400, 404),
            about="Those of other keys are not found.",
        ),
        "DELETE": Operation(
            summary="Forget an answer",
            tag=Tag.OPENAI,
            answer=DeletedResponse,
            path=_PATH,
            errors=(404,),
        ),
    }

    def __init__(self, kept: KeptResponses) -> None:
        self._kept = kept

    def on_get(self, req: falcon.Request, resp: falcon.Response, response_id: str) -> None:
        _known_params(req, {"include", "stream"})
        if req.get_param("stream") not in {None, "false"}:
            raise Unsupported(
                feature="'stream' of a kept response", reason="it is given whole", param="stream"
            )
        resp.content_type = "application/json"
        resp.data = self._kept.get(exchange_of(req).owner, response_id).object_

    def on_delete(self, req: falcon.Request, resp: falcon.Response, response_id: str) -> None:
        self._kept.delete(exchange_of(req).owner, response_id)
        reply(resp, {"id": response_id, "object": "response", "deleted": True})


class ResponseInputs:
    """GET /v1/responses/{id}/input_items. Any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="What a kept answer answers",
            tag=Tag.OPENAI,
            answer=InputItemsAnswer,
            path=_PATH,
            parameters=(
                _INCLUDE,
                Parameter(
                    name="limit",
                    about=f"{_PAGE} without it.",
                    schema={"type": "integer", "minimum": 1, "maximum": _MOST},
                ),
                Parameter(
                    name="order",
                    about="desc without it: the newest first.",
                    schema={"type": "string", "enum": ["asc", "desc"]},
                ),
                Parameter(name="after", about="The id of the last item that is known already."),
            ),
            errors=(400, 404),
        )
    }

    def __init__(self, kept: KeptResponses) -> None:
        self._kept = kept

    def on_get(self, req: falcon.Request, resp: falcon.Response, response_id: str) -> None:
        _known_params(req, {"include", "limit", "order", "after"})
        items = self._kept.get(exchange_of(req).owner, response_id).input_items()
        reply(resp, _page(items, req))


class ResponseCancel:
    """POST /v1/responses/{id}/cancel. Any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Refused: no answer is made in the background",
            tag=Tag.OPENAI,
            path=_PATH,
            is_refused=True,
            errors=(400, 404),
            about="Close the connection of one that is under way.",
        )
    }

    def __init__(self, kept: KeptResponses) -> None:
        self._kept = kept

    def on_post(self, req: falcon.Request, _resp: falcon.Response, response_id: str) -> None:
        self._kept.get(exchange_of(req).owner, response_id)
        raise Unsupported(
            feature="cancelling a response",
            reason="there are none in the background; close the connection of one that is under way",
            param="response_id",
        )


def _page(items: list[Kept], req: falcon.Request) -> dict[str, Any]:
    """OpenAI's: the newest first, unless asked otherwise."""
    order = req.get_param("order") or "desc"
    if order not in {"asc", "desc"}:
        raise InvalidRequest(reason="must be asc or desc", param="order")
    ordered = items if order == "asc" else items[::-1]
    after = req.get_param("after")
    if after is not None:
        place = next((at for at, item in enumerate(ordered) if item["id"] == after), None)
        if place is None:
            raise InvalidRequest(reason="no item has this id", param="after")
        ordered = ordered[place + 1 :]
    limit = _limit(req.get_param("limit"))
    shown = ordered[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > limit,
    }


def _limit(told: str | None) -> int:
    if told is None:
        return _PAGE
    if not (told.isascii() and told.isdigit() and len(told) <= 3 and 1 <= int(told) <= _MOST):
        raise InvalidRequest(reason=f"must be a number from 1 to {_MOST}", param="limit")
    return int(told)


def _known_params(req: falcon.Request, known: set[str]) -> None:
    """`include` asks for parts of items that there are anyway, or that are not made here."""
    for name in req.params:
        if name.removesuffix("[]") not in known:
            raise Unsupported(
                feature=f"the parameter '{shown(name)}'",
                reason="it is unknown here; leave it out",
                param=shown(name),
            )
