"""THE table from routes to what a key needs for them; `app.py` adds no route that does not stand here.

    route, method ─► ANYONE                         health: whoever restarts us must be able to ask;
                  │                                 the claim, which is a secret itself;
                  │                                 documents: they tell nothing of this device
                  └► scopes, any of which suffices

`tests/unit/api/test_route_scopes.py` walks every route with every scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import falcon.routing

from appliance.access.scopes import Scope

Needed = frozenset[Scope] | None
"""None: no key at all."""

ANYONE: Final[Needed] = None
_INFER: Final[Needed] = frozenset({Scope.INFER})
_LIST: Final[Needed] = frozenset({Scope.INFER, Scope.MODELS_READ})
"""Clients of the OpenAI API and of Ollama's list the models, and look at one, before they ask it."""
_READ: Final[Needed] = frozenset({Scope.MODELS_READ})
_WRITE: Final[Needed] = frozenset({Scope.MODELS_WRITE})
_QUEUE: Final[Needed] = frozenset({Scope.INFER, Scope.SYSTEM})
"""Who may ask a model sees and cancels what he asked; `queue.py`, `requests.py` and `usage.py` show
everything to `system` only.
"""
_MEMORY: Final[Needed] = frozenset({Scope.MODELS_WRITE, Scope.INFER})
"""Who may ask a model can load it by asking, and put it out by a `keep_alive` of 0."""
_PLAN: Final[Needed] = frozenset({Scope.MODELS_READ, Scope.MODELS_WRITE, Scope.INFER})
"""What a model would take is a fact of it; who may load it may ask beforehand, too."""
_METRICS: Final[Needed] = frozenset({Scope.METRICS})
"""They name all models, also those that a key for some must not see."""
_KEYS: Final[Needed] = frozenset({Scope.KEYS_ADMIN})
_SYSTEM: Final[Needed] = frozenset({Scope.SYSTEM})

TABLE: Final[Mapping[str, Mapping[str, Needed]]] = {
    "/v1/chat/completions": {"POST": _INFER},
    "/v1/completions": {"POST": _INFER},
    "/v1/responses": {"POST": _INFER},
    "/v1/responses/{response_id}": {"GET": _INFER, "DELETE": _INFER},
    "/v1/responses/{response_id}/input_items": {"GET": _INFER},
    "/v1/responses/{response_id}/cancel": {"POST": _INFER},
    "/v1/messages": {"POST": _INFER},
    "/v1/messages/count_tokens": {"POST": _INFER},
    "/v1/embeddings": {"POST": _INFER},
    "/v1/rerank": {"POST": _INFER},
    "/v1/reranking": {"POST": _INFER},
    "/rerank": {"POST": _INFER},
    "/reranking": {"POST": _INFER},
    "/infill": {"POST": _INFER},
    "/tokenize": {"POST": _INFER},
    "/detokenize": {"POST": _INFER},
    "/v1/queue": {"GET": _QUEUE},
    "/outpost/v1/streams/{request_id}": {"GET": _INFER},
    "/outpost/v1/requests": {"GET": _QUEUE},
    "/outpost/v1/requests/{request_id}/cancel": {"POST": _QUEUE},
    "/v1/models": {"GET": _LIST},
    "/v1/models/{model:path}": {"GET": _LIST, "DELETE": _WRITE},
    "/openapi.json": {"GET": ANYONE},
    "/docs": {"GET": ANYONE},
    "/docs/style.css": {"GET": ANYONE},
    "/healthz": {"GET": ANYONE},
    "/readyz": {"GET": ANYONE},
    "/metrics": {"GET": _METRICS},
    "/outpost/v1/usage": {"GET": _QUEUE},
    "/outpost/v1/models": {"GET": _READ},
    "/outpost/v1/models/{name:path}": {"GET": _READ},
    "/outpost/v1/operations": {"POST": _WRITE},
    "/outpost/v1/fit": {"POST": _PLAN},
    "/outpost/v1/hardware": {"GET": _SYSTEM},
    "/outpost/v1/hibernation": {"GET": _SYSTEM, "DELETE": _SYSTEM},
    "/outpost/v1/keys": {"GET": _KEYS, "POST": _KEYS},
    "/outpost/v1/keys/{key_id}": {"GET": _KEYS, "PATCH": _KEYS, "DELETE": _KEYS},
    "/outpost/v1/keys/{key_id}/rotate": {"POST": _KEYS},
    "/outpost/v1/claim": {"POST": ANYONE},
    "/outpost/v1/load": {"POST": _MEMORY},
    "/outpost/v1/unload": {"POST": _MEMORY},
    "/": {"GET": ANYONE, "HEAD": ANYONE},
    "/api/version": {"GET": _LIST, "HEAD": _LIST},
    "/api/status": {"GET": _LIST},
    "/api/generate": {"POST": _INFER},
    "/api/chat": {"POST": _INFER},
    "/api/embed": {"POST": _INFER},
    "/api/embeddings": {"POST": _INFER},
    "/api/tags": {"GET": _LIST, "HEAD": _LIST},
    "/api/ps": {"GET": _LIST},
    "/api/show": {"POST": _LIST},
    "/api/create": {"POST": _WRITE},
    "/api/copy": {"POST": _WRITE},
    "/api/delete": {"DELETE": _WRITE},
    "/api/pull": {"POST": _WRITE},
    "/api/push": {"POST": _WRITE},
    "/api/blobs/{digest}": {"HEAD": _WRITE, "POST": _WRITE},
    "/api/me": {"POST": _LIST},
    "/api/signin": {"POST": _LIST},
    "/api/signout": {"POST": _LIST},
    "/api/user/keys/{key}": {"DELETE": _LIST},
    "/api/web_search": {"POST": _LIST},
    "/api/web_fetch": {"POST": _LIST},
    "/api/experimental/web_search": {"POST": _LIST},
    "/api/experimental/web_fetch": {"POST": _LIST},
    "/api/experimental/model-recommendations": {"GET": _LIST},
    "/v2/": {"GET": _READ},
    "/v2/{rest:path}": {"GET": _READ, "HEAD": _READ},
}

PUBLIC_PATHS: Final = frozenset(
    route for route, methods in TABLE.items() if all(needed is ANYONE for needed in methods.values())
)
"""None of them has a variable part, so each is a path too."""


def asks_model(route: str, method: str) -> bool:
    """Whether its requests wait, run and can be cancelled."""
    return method == "POST" and needed_for(route, method) == _INFER and not route.endswith("/cancel")


def needed_for(route: str, method: str) -> Needed:
    """ANYONE also for what falcon answers itself: OPTIONS, and 405."""
    return TABLE[route].get(method, ANYONE)


def require_complete(route: str, resource: object) -> None:
    """Raises ValueError where the table and what `resource` answers differ: no door opens by oversight."""
    answered = set(falcon.routing.map_http_methods(resource))
    if answered != set(TABLE.get(route, {})):
        raise ValueError(f"{route} answers {sorted(answered)}; api/route_scopes.py says otherwise")
