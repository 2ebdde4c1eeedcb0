"""What tells that somebody is there, and how old: `/`, /api/version, /api/status."""

from __future__ import annotations

from typing import ClassVar, Final

import falcon

from appliance.api.json_reply import reply
from appliance.api.ollama.answers import StatusAnswer, VersionAnswer
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.modelfile.compatibility import OLLAMA_VERSION

RUNNING: Final = "Ollama is running"
"""Word for word: clients and health checks compare it."""


class Root:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        method: Operation(summary="Whether anybody is there", tag=Tag.OLLAMA, media_type="text/plain")
        for method in ("GET", "HEAD")
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/plain; charset=utf-8"
        resp.text = RUNNING

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.on_get(req, resp)


class Version:
    """Stateless; any thread. The Ollama whose API this is: clients ask whether it is new enough."""

    OPERATIONS: ClassVar[Operations] = {
        method: Operation(summary="The Ollama whose API this is", tag=Tag.OLLAMA, answer=VersionAnswer)
        for method in ("GET", "HEAD")
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        reply(resp, {"version": OLLAMA_VERSION})

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.on_get(req, resp)


class Status:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="That Ollama's cloud is off", tag=Tag.OLLAMA, answer=StatusAnswer)
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        reply(resp, {"cloud": {"disabled": True, "source": "config"}})
