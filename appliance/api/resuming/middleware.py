"""`X-Outpost-Resumable: 1`: this stream shall outlive its connection."""

from __future__ import annotations

from typing import Any, Final

import falcon

from appliance.api.exchange import Exchange, exchange_of
from appliance.api.resuming.kept_stream import Reader
from appliance.api.resuming.kept_streams import KeptStreams
from appliance.api.route_scopes import asks_model
from appliance.api.sse import EventStream
from appliance.errors import InvalidRequest

RESUMABLE: Final = "X-Outpost-Resumable"
STREAM: Final = "X-Outpost-Stream"
"""In the answer: where the stream is taken up again."""
_SWITCH: Final = {None: False, "0": False, "1": True}


class ResumeMiddleware:
    """Any thread. Stands behind the checks of who asks."""

    def __init__(self, streams: KeptStreams) -> None:
        self._streams = streams

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Raises InvalidRequest, RequestIdInUse."""
        told = req.get_header(RESUMABLE)
        if told is None:
            return
        if told not in _SWITCH:
            raise InvalidRequest(reason="must be 1 or 0", param=RESUMABLE)
        if not _SWITCH[told] or not asks_model(req.uri_template or "", req.method):
            return
        exchange = exchange_of(req)
        owner = owner_of(exchange)
        self._streams.require_free(owner, exchange.request_id)
        if self._streams.limits.keep_s > 0:
            exchange.keep = lambda stream: self._kept(owner, exchange, stream)

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001 - falcon's form
    ) -> None:
        if req.get_header(RESUMABLE) != "1" or not succeeded:
            return
        exchange = exchange_of(req)
        if isinstance(resp.stream, Reader):
            resp.set_header(STREAM, f"/outpost/v1/streams/{exchange.request_id}")
        elif not any(RESUMABLE in warning for warning in exchange.warnings):
            exchange.warn(f"'{RESUMABLE}' is ignored: {self._why_not(exchange)}")

    def _kept(self, owner: str, exchange: Exchange, stream: EventStream) -> EventStream | Reader:
        kept = self._streams.keep(owner, stream, exchange.disconnected)
        if isinstance(kept, Reader):
            return kept
        exchange.warn(f"'{RESUMABLE}' is ignored: {kept}")
        return stream

    def _why_not(self, exchange: Exchange) -> str:
        return "this answer is no stream of events" if exchange.keep else "no stream can be resumed here"


def owner_of(exchange: Exchange) -> str:
    """To whom a stream belongs: its key. Without keys all belong to this machine."""
    return exchange.owner if exchange.grant is not None else ""
