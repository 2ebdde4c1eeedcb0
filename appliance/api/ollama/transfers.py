"""POST /api/pull, /api/push and /api/create: the verbs of the store with their progress as lines.

    {"status": "pulling 6a0746a1ec1a", "digest", "total", "completed"}
    {"status": "success"}      or {"error": "text"}

`"stream": false`: the last of them alone, an error with its status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import falcon

from appliance.api.calls import Limits
from appliance.api.error_responses import error_object
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.ollama.answers import Done, ProgressLine
from appliance.api.ollama.bodies import CreateBody, TransferBody
from appliance.api.ollama.endpoint import body_of, required
from appliance.api.ollama.lines import NDJSON
from appliance.api.ollama.recipe import modelfile_text
from appliance.api.ollama_errors import ollama_object
from appliance.api.openapi.operation import Operation as Described
from appliance.api.openapi.operation import Operations, Stream, Tag
from appliance.api.operation import Operation
from appliance.api.store_changes import StoreChanges
from appliance.store import operations
from appliance.store.content import Report
from appliance.store.operations import Outcome


class _Transfer:
    """Stateless; any thread."""

    def __init__(self, changes: StoreChanges, limits: Limits) -> None:
        self._changes = changes
        self._limits = limits

    def _answer(
        self, resp: falcon.Response, exchange: Exchange, asked: operations.Operation, *, is_stream: bool
    ) -> None:
        self._changes.require(exchange, asked)
        running = Operation(
            lambda report: self._do(asked, exchange, report),
            exchange,
            heartbeat_s=self._limits.heartbeat_s,
            error_object=ollama_line,
        )
        running.start()
        if not is_stream:
            running.finish()
            reply(resp, {"status": "success"})
            return
        exchange.is_stream = True
        resp.content_type = NDJSON
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = running

    def _do(self, asked: operations.Operation, exchange: Exchange, report: Report) -> Outcome:
        """Ollama's last line has nothing beside its status."""
        self._changes.perform(asked, exchange, report)
        return {}


def _transfer(summary: str, body: Any, example: Mapping[str, Any], *, about: str = "") -> Operations:
    return {
        "POST": Described(
            summary=summary,
            tag=Tag.OLLAMA,
            body=body,
            answer=Done,
            stream=Stream(
                media_type=NDJSON,
                item=ProgressLine,
                about="Progress, a line each; with `stream` false, the end alone. Closing the connection "
                "cancels it.",
            ),
            errors=(404, 409, 500, 502, 503, 507),
            about=about,
            example=example,
        )
    }


class Pull(_Transfer):
    OPERATIONS: ClassVar[Operations] = _transfer(
        "Get a model from a registry",
        TransferBody,
        {"model": "tiny"},
        about="From hosts that the configuration names, and from no others.",
    )

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = _transfer_body(req, exchange, self._limits)
        asked = operations.Pull(name=required(body.told_name))
        self._answer(resp, exchange, asked, is_stream=body.stream is not False)


class Push(_Transfer):
    OPERATIONS: ClassVar[Operations] = _transfer(
        "Send a model to a registry",
        TransferBody,
        {"model": "tiny"},
        about="To hosts that the configuration names, and to no others.",
    )

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = _transfer_body(req, exchange, self._limits)
        asked = operations.Push(name=required(body.told_name))
        self._answer(resp, exchange, asked, is_stream=body.stream is not False)


class Create(_Transfer):
    OPERATIONS: ClassVar[Operations] = _transfer(
        "Make a model of another one, or of files that were sent before",
        CreateBody,
        {"model": "mine", "from": "tiny", "system": "Answer in one sentence."},
    )

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = body_of(CreateBody, req, exchange, self._limits)
        name = required(body.told_name)
        if body.info:
            exchange.warn("'info' is ignored: what a model is, its GGUF says")
        asked = operations.Create(
            name=name,
            modelfile=modelfile_text(body, exchange.warn),
            quantize=body.quantize or body.quantization or None,
        )
        self._answer(resp, exchange, asked, is_stream=body.stream is not False)


def _transfer_body(req: falcon.Request, exchange: Exchange, limits: Limits) -> TransferBody:
    body = body_of(TransferBody, req, exchange, limits)
    if body.insecure:
        exchange.warn("'insecure' is ignored: the configuration says how a host is called")
    if body.username or body.password:
        exchange.warn("'username' and 'password' are ignored: the configuration has them for its hosts")
    return body


def ollama_line(error: Exception) -> dict[str, Any]:
    return ollama_object(error_object(error), error)
