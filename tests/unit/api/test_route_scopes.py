"""Every route with every scope: one table decides, and nothing stands beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import falcon.inspect
import falcon.testing
import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.api import route_scopes
from appliance.api.ollama import cloud
from appliance.api.route_scopes import require_complete
from appliance.store.digest import digest_of
from tests.fakes.fake_inference import MODEL
from tests.fakes.fake_layout import FakeLayout
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.unit.api.books import Books
from tests.unit.api.door import Door

KEY = generate()
BEARER = {"Authorization": f"Bearer {KEY.text}"}

# Written out, not taken from the code: what a key of each scope may ask.
ALLOWED: dict[str, set[str]] = {
    "POST /v1/chat/completions": {"inference"},
    "POST /v1/completions": {"inference"},
    "POST /v1/responses": {"inference"},
    "GET /v1/responses/{response_id}": {"inference"},
    "DELETE /v1/responses/{response_id}": {"inference"},
    "GET /v1/responses/{response_id}/input_items": {"inference"},
    "POST /v1/responses/{response_id}/cancel": {"inference"},
    "POST /v1/embeddings": {"inference"},
    "POST /v1/rerank": {"inference"},
    "POST /v1/reranking": {"inference"},
    "POST /rerank": {"inference"},
    "POST /reranking": {"inference"},
    "POST /infill": {"inference"},
    "POST /tokenize": {"inference"},
    "POST /detokenize": {"inference"},
    "GET /v1/queue": {"inference", "admin"},
    "GET /v1/models": {"inference", "models:read"},
    "GET /v1/models/{model:path}": {"inference", "models:read"},
    "DELETE /v1/models/{model:path}": {"models:write"},
    "GET /metrics": {"inference", "metrics"},
    "GET /outpost/v1/usage": {"inference", "admin"},
    "GET /outpost/v1/models": {"models:read"},
    "GET /outpost/v1/models/{name:path}": {"models:read"},
    "POST /outpost/v1/operations": {"models:write"},
    "POST /outpost/v1/fit": {"inference", "models:read", "models:write"},
    "POST /outpost/v1/load": {"inference", "models:write"},
    "POST /outpost/v1/unload": {"inference", "models:write"},
    "GET /api/version": {"inference", "models:read"},
    "HEAD /api/version": {"inference", "models:read"},
    "GET /api/status": {"inference", "models:read"},
    "POST /api/generate": {"inference"},
    "POST /api/chat": {"inference"},
    "POST /api/embed": {"inference"},
    "POST /api/embeddings": {"inference"},
    "GET /api/tags": {"inference", "models:read"},
    "HEAD /api/tags": {"inference", "models:read"},
    "GET /api/ps": {"inference", "models:read"},
    "POST /api/show": {"inference", "models:read"},
    "POST /api/create": {"models:write"},
    "POST /api/copy": {"models:write"},
    "DELETE /api/delete": {"models:write"},
    "POST /api/pull": {"models:write"},
    "POST /api/push": {"models:write"},
    "HEAD /api/blobs/{digest}": {"models:write"},
    "POST /api/blobs/{digest}": {"models:write"},
    "GET /v2/": {"models:read"},
    "GET /v2/{rest:path}": {"models:read"},
    "HEAD /v2/{rest:path}": {"models:read"},
}
PUBLIC = {"GET /healthz", "GET /readyz", "GET /", "HEAD /"}
CLOUD = {f"{method} {route}" for route, (method, _) in cloud.ROUTES.items()}
"""Refused to every key, with their reason."""
PATHS = {
    "/v1/models/{model:path}": f"/v1/models/{MODEL}",
    "/outpost/v1/models/{name:path}": "/outpost/v1/models/tiny",
    "/v2/{rest:path}": "/v2/library/tiny/tags/list",
    "/api/blobs/{digest}": "/api/blobs/" + digest_of(b"{}"),
    "/api/user/keys/{key}": "/api/user/keys/x",
}


def opened(*scopes: Scope, keys: bool = True) -> Door:
    ring = KeyRing({KEY.key_id: StoredKey(sha256=KEY.sha256, scopes=frozenset(scopes))} if keys else {})
    layout = FakeLayout(Path("/nowhere"))
    return Door(
        keys=ring,
        store=FakeStoreVerbs(),
        layout=layout,
        render_metrics=lambda: "",
        accounting=Books().accounting,
    )


def ask(door: Door, route: str, headers: dict[str, str] | None = None) -> falcon.testing.Result:
    method, _, template = route.partition(" ")
    return door.client.simulate_request(
        method,
        PATHS.get(template, template),
        host="localhost",
        headers={"Content-Type": "application/json", **(headers or {})},
        body=b"{}" if method == "POST" else None,
    )


def routes_of(door: Door) -> set[str]:
    """What falcon answers with code of ours."""
    return {
        f"{method.method} {route.path}"
        for route in falcon.inspect.inspect_routes(door.client.app)
        for method in route.methods
        if not method.internal
    }


def test_every_route_of_the_door_is_on_the_list() -> None:
    assert routes_of(opened()) == set(ALLOWED) | PUBLIC | CLOUD


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("route", ALLOWED)
def test_a_scope_opens_its_routes_and_no_others(route: str, scope: Scope) -> None:
    answer = ask(opened(scope), route, BEARER)
    if scope in ALLOWED[route]:
        assert answer.status_code not in {401, 403}
        return
    assert answer.status_code == 403
    if route.startswith("HEAD"):
        return
    message, code = refused(answer.json)
    assert all(f"'{needed}'" in message for needed in ALLOWED[route])
    assert f"'{scope}'" not in message
    assert code in {"insufficient_scope", None}


def refused(told: Any) -> tuple[str, str | None]:
    """Message and code of an error in each door's form; Ollama's has no code."""
    if "errors" in told:
        return told["errors"][0]["message"], told["errors"][0]["detail"]["code"]
    if isinstance(told["error"], str):
        return told["error"], None
    return told["error"]["message"], told["error"]["code"]


@pytest.mark.parametrize("route", sorted(CLOUD))
def test_what_needs_a_cloud_is_refused_to_every_key_and_asks_for_one(route: str) -> None:
    answer = ask(opened(*Scope), route, BEARER)
    assert answer.status_code == 403
    assert "ollama cloud is disabled" in answer.json["error"]
    assert ask(opened(*Scope), route).status_code == 401


@pytest.mark.parametrize("route", ALLOWED)
def test_a_key_with_all_scopes_opens_all_and_none_opens_nothing(route: str) -> None:
    assert ask(opened(*Scope), route, BEARER).status_code not in {401, 403}
    assert ask(opened(*Scope), route).status_code == 401


@pytest.mark.parametrize("route", sorted(PUBLIC))
def test_health_is_public(route: str) -> None:
    assert ask(opened(), route).status_code == 200


@pytest.mark.parametrize("route", ALLOWED)
def test_without_keys_nothing_is_asked_for(route: str) -> None:
    assert ask(opened(keys=False), route).status_code not in {401, 403}


def test_a_key_for_inference_changes_nothing_in_the_store() -> None:
    door = opened(Scope.INFERENCE)
    for body in ({"verb": "remove", "name": "tiny"}, {"verb": "push", "name": "tiny"}, {"verb": "gc"}):
        assert door.post("/outpost/v1/operations", body, BEARER).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models", 405),
        ("OPTIONS", "/v1/models", 200),
        ("HEAD", "/metrics", 405),
        ("GET", "/v1/nope", 404),
        ("GET", "/healthz/x", 404),
    ],
)
def test_what_is_no_route_is_told_as_such_to_every_key(method: str, path: str, status: int) -> None:
    answer = opened(Scope.METRICS).client.simulate_request(method, path, host="localhost", headers=BEARER)
    assert answer.status_code == status


def test_a_route_or_method_that_the_table_does_not_know_is_not_added() -> None:
    class Extra:
        def on_get(self, _req: Any, _resp: Any) -> None: ...

        def on_delete(self, _req: Any, _resp: Any) -> None: ...

    for route in ("/v1/new", "/v1/models"):
        with pytest.raises(ValueError, match=re.escape(route)):
            require_complete(route, Extra())


def test_public_paths_are_those_of_health_and_the_word_that_somebody_is_there() -> None:
    assert {"/healthz", "/readyz", "/"} == route_scopes.PUBLIC_PATHS
