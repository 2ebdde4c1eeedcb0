"""Routes behind which, in Ollama, is ollama.com: each is refused by its name, whatever is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import falcon

from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.errors import NotAllowed

ROUTES: Final[Mapping[str, tuple[str, str]]] = {
    "/api/me": ("POST", "there is no account here"),
    "/api/signin": ("POST", "there is no account here to sign in to"),
    "/api/signout": ("POST", "there is no account here to sign out of"),
    "/api/user/keys/{key}": ("DELETE", "there is no account here; keys are the operator's (outpost keys)"),
    "/api/experimental/web_search": ("POST", "web search is unavailable"),
    "/api/experimental/web_fetch": ("POST", "web fetch is unavailable"),
    "/api/web_search": ("POST", "web search is unavailable"),
    "/api/web_fetch": ("POST", "web fetch is unavailable"),
    "/api/experimental/model-recommendations": ("GET", "nobody recommends models here (outpost fit does)"),
}
"""Route → its method, and what is not here."""


def refuser(route: str) -> object:
    """The resource of `route`."""
    method, reason = ROUTES[route]
    return {"POST": _Post, "GET": _Get, "DELETE": _Delete}[method](method, reason)


class _Refuser:
    """Stateless; any thread. The body is not read."""

    def __init__(self, method: str, reason: str) -> None:
        self._reason = reason
        self.OPERATIONS: Operations = {
            method: Operation(
                summary=f"Refused: {reason}",
                tag=Tag.OLLAMA,
                path={"key": "Any."},
                is_refused=True,
                errors=(403,),
            )
        }

    def _refuse(self) -> None:
        raise NotAllowed(reason=f"ollama cloud is disabled: {self._reason}; this Outpost is offline")


class _Post(_Refuser):
    def on_post(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        self._refuse()


class _Get(_Refuser):
    def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        self._refuse()


class _Delete(_Refuser):
    def on_delete(self, _req: falcon.Request, _resp: falcon.Response, key: str) -> None:  # noqa: ARG002
        self._refuse()
