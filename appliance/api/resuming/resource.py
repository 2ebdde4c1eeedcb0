"""GET /outpost/v1/streams/ID: take up a stream behind the event that `Last-Event-ID` names, again and again.

Without that header from its first event. 204: it is over, and all of it was received.
"""

from __future__ import annotations

from typing import ClassVar

import falcon

from appliance.api import sse
from appliance.api.exchange import exchange_of
from appliance.api.openapi.operation import Operation, Operations, Parameter, Tag
from appliance.api.resuming.kept_stream import LAST_EVENT_ID
from appliance.api.resuming.kept_streams import KeptStreams
from appliance.api.resuming.middleware import owner_of
from appliance.errors import InvalidRequest

_MAX_DIGITS = 15


class ResumeStream:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="Take up a stream where its connection broke",
            tag=Tag.QUEUE,
            media_type="text/event-stream",
            path={"request_id": "The `X-Request-Id` of the request that began it."},
            parameters=(
                Parameter(
                    name=LAST_EVENT_ID,
                    place="header",
                    about="The id of the last event that was received; without it, from the first.",
                    schema={"type": "integer", "minimum": 0},
                ),
            ),
            errors=(400, 404, 410),
            about="The events are those of the API that was asked. 204: it is over, and all was received.",
        )
    }

    def __init__(self, streams: KeptStreams) -> None:
        self._streams = streams

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        exchange = exchange_of(req)
        reader = self._streams.resume(
            owner_of(exchange),
            request_id,
            _last_event_id(req),
            exchange.gone,
            on_close=exchange.end,
        )
        if reader is None:
            resp.status = falcon.HTTP_204
            return
        exchange.is_stream = True
        sse.head(resp)
        resp.stream = reader


def _last_event_id(req: falcon.Request) -> int:
    told = req.get_header(LAST_EVENT_ID)
    if told is None or told == "":
        return 0
    if not (told.isascii() and told.isdigit() and len(told) <= _MAX_DIGITS):
        raise InvalidRequest(reason="must be the id of an event of this stream", param=LAST_EVENT_ID)
    return int(told)
