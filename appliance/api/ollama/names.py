"""POST /api/copy and DELETE /api/delete: names that come and go."""

from __future__ import annotations

from typing import ClassVar

import falcon

from appliance.api.calls import Limits
from appliance.api.exchange import exchange_of
from appliance.api.ollama.bodies import CopyBody
from appliance.api.ollama.endpoint import body_of, required
from appliance.api.ollama.fields import NamedBody
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.api.store_changes import StoreChanges
from appliance.store import operations
from appliance.store.content import unreported


class Copy:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Give a model a second name",
            tag=Tag.OLLAMA,
            body=CopyBody,
            errors=(404, 500, 503, 507),
            example={"source": "tiny", "destination": "mine"},
        )
    }

    def __init__(self, changes: StoreChanges, limits: Limits) -> None:
        self._changes = changes
        self._limits = limits

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = body_of(CopyBody, req, exchange, self._limits)
        source = required(body.source, what="source")
        destination = required(body.destination, what="destination")
        asked = operations.Copy(source=source, destination=destination)
        self._changes.require(exchange, asked)
        self._changes.perform(asked, exchange, unreported)
        resp.status = falcon.HTTP_200


class Delete:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "DELETE": Operation(
            summary="Take a name out of the store",
            tag=Tag.OLLAMA,
            body=NamedBody,
            errors=(404, 409, 500, 503, 507),
            example={"model": "tiny"},
        )
    }

    def __init__(self, changes: StoreChanges, limits: Limits) -> None:
        self._changes = changes
        self._limits = limits

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = body_of(NamedBody, req, exchange, self._limits)
        asked = operations.Remove(name=required(body.told_name))
        self._changes.require(exchange, asked)
        self._changes.perform(asked, exchange, unreported)
        resp.status = falcon.HTTP_200
