"""What tells that somebody is there, and how old: `/`, /api/version, /api/status."""

from __future__ import annotations

from typing import Final

import falcon

from appliance.api.openai.endpoint import reply
from appliance.modelfile.compatibility import OLLAMA_VERSION

RUNNING: Final = "Ollama is running"
"""Word for word: clients and health checks compare it."""


class Root:
    """Stateless; any thread."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/plain; charset=utf-8"
        resp.text = RUNNING

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.on_get(req, resp)


class Version:
    """Stateless; any thread. The Ollama whose API this is: clients ask whether it is new enough."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        reply(resp, {"version": OLLAMA_VERSION})

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.on_get(req, resp)


class Status:
    """Stateless; any thread."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        reply(resp, {"cloud": {"disabled": True, "source": "config"}})
