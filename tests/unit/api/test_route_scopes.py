"""Every route with every scope and every kind of key: one table decides, and nothing stands beside it."""

from __future__ import annotations

import json
import re
from typing import Any

import falcon.inspect
import falcon.testing
import pytest

from appliance.access.scopes import Scope
from appliance.api import route_scopes
from appliance.api.ollama import cloud
from appliance.api.route_scopes import require_complete
from appliance.store.digest import digest_of
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import HERE, Door
from tests.unit.api.doors import BEARER, Doors

# Written out, not taken from the code: what a key of each scope may ask.
ALLOWED: dict[str, set[str]] = {
    "POST /v1/chat/completions": {"infer"},
    "POST /v1/completions": {"infer"},
    "POST /v1/responses": {"infer"},
    "GET /v1/responses/{response_id}": {"infer"},
    "DELETE /v1/responses/{response_id}": {"infer"},
    "GET /v1/responses/{response_id}/input_items": {"infer"},
    "POST /v1/responses/{response_id}/cancel": {"infer"},
    "POST /v1/messages": {"infer"},
    "POST /v1/messages/count_tokens": {"infer"},
    "POST /v1/embeddings": {"infer"},
    "POST /v1/rerank": {"infer"},
    "POST /v1/reranking": {"infer"},
    "POST /rerank": {"infer"},
    "POST /reranking": {"infer"},
    "POST /infill": {"infer"},
    "POST /tokenize": {"infer"},
    "POST /detokenize": {"infer"},
    "GET /v1/queue": {"infer", "system"},
    "GET /outpost/v1/streams/{request_id}": {"infer"},
    "GET /outpost/v1/requests": {"infer", "system"},
    "POST /outpost/v1/requests/{request_id}/cancel": {"infer", "system"},
    "GET /v1/models": {"infer", "models:read"},
    "GET /v1/models/{model:path}": {"infer", "models:read"},
    "DELETE /v1/models/{model:path}": {"models:write"},
    "GET /metrics": {"metrics"},
    "GET /outpost/v1/usage": {"infer", "system"},
    "GET /outpost/v1/models": {"models:read"},
    "GET /outpost/v1/models/{name:path}": {"models:read"},
    "POST /outpost/v1/operations": {"models:write"},
    "GET /outpost/v1/hardware": {"system"},
    "GET /outpost/v1/hibernation": {"system"},
    "DELETE /outpost/v1/hibernation": {"system"},
    "POST /outpost/v1/fit": {"infer", "models:read", "models:write"},
    "GET /outpost/v1/keys": {"keys:admin"},
    "POST /outpost/v1/keys": {"keys:admin"},
    "GET /outpost/v1/keys/{key_id}": {"keys:admin"},
    "PATCH /outpost/v1/keys/{key_id}": {"keys:admin"},
    "DELETE /outpost/v1/keys/{key_id}": {"keys:admin"},
    "POST /outpost/v1/keys/{key_id}/rotate": {"keys:admin"},
    "POST /outpost/v1/load": {"infer", "models:write"},
    "POST /outpost/v1/unload": {"infer", "models:write"},
    "GET /api/version": {"infer", "models:read"},
    "HEAD /api/version": {"infer", "models:read"},
    "GET /api/status": {"infer", "models:read"},
    "POST /api/generate": {"infer"},
    "POST /api/chat": {"infer"},
    "POST /api/embed": {"infer"},
    "POST /api/embeddings": {"infer"},
    "GET /api/tags": {"infer", "models:read"},
    "HEAD /api/tags": {"infer", "models:read"},
    "GET /api/ps": {"infer", "models:read"},
    "POST /api/show": {"infer", "models:read"},
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
PUBLIC = {
    "GET /healthz",
    "GET /readyz",
    "POST /outpost/v1/claim",
    "GET /",
    "HEAD /",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/style.css",
}
"""Health, the claim, that somebody is there, and documents that are the same on every Outpost."""
INFER = [route for route, scopes in ALLOWED.items() if "infer" in scopes]
CLOUD = {f"{method} {route}" for route, (method, _) in cloud.ROUTES.items()}
"""Refused to every key, with their reason."""
PATHS = {
    "/v1/models/{model:path}": f"/v1/models/{MODEL}",
    "/outpost/v1/models/{name:path}": "/outpost/v1/models/tiny",
    "/v2/{rest:path}": "/v2/library/tiny/tags/list",
    "/outpost/v1/keys/{key_id}": "/outpost/v1/keys/nobody00",
    "/outpost/v1/keys/{key_id}/rotate": "/outpost/v1/keys/nobody00/rotate",
    "/api/blobs/{digest}": "/api/blobs/" + digest_of(b"{}"),
    "/api/user/keys/{key}": "/api/user/keys/x",
}
BODIES = {"/outpost/v1/claim": b'{"claim": "x"}'}


def ask(door: Door, route: str, headers: dict[str, str] | None = None) -> falcon.testing.Result:
    method, _, template = route.partition(" ")
    return door.client.simulate_request(
        method,
        PATHS.get(template, template),
        host="localhost",
        remote_addr=HERE,
        headers={"Content-Type": "application/json", **(headers or {})},
        body=BODIES.get(template, b"{}") if method in {"POST", "PATCH"} else None,
    )


def code_of(answer: falcon.testing.Result) -> str:
    told = answer.json
    if told.get("type") == "error":  # Anthropic's form has no code
        types = {"permission_error": "insufficient_scope", "not_found_error": "model_not_found"}
        return types[told["error"]["type"]]
    code = told["errors"][0]["detail"]["code"] if "errors" in told else told["error"]["code"]
    assert isinstance(code, str)
    return code


def routes_of(door: Door) -> set[str]:
    """What falcon answers with code of ours."""
    return {
        f"{method.method} {route.path}"
        for route in falcon.inspect.inspect_routes(door.client.app)
        for method in route.methods
        if not method.internal
    }


def test_every_route_of_the_door_is_on_the_list(doors: Doors) -> None:
    assert routes_of(doors.opened()) == set(ALLOWED) | PUBLIC | CLOUD


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("route", ALLOWED)
def test_a_scope_opens_its_routes_and_no_others(route: str, scope: Scope, doors: Doors) -> None:
    answer = ask(doors.opened(scope), route, BEARER)
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
    """Message and code of an error in each door's form; Ollama's and Anthropic's have no code."""
    if "errors" in told:
        return told["errors"][0]["message"], told["errors"][0]["detail"]["code"]
    if isinstance(told["error"], str):
        return told["error"], None
    return told["error"]["message"], told["error"].get("code")


@pytest.mark.parametrize("route", sorted(CLOUD))
def test_what_needs_a_cloud_is_refused_to_every_key_and_asks_for_one(route: str, doors: Doors) -> None:
    answer = ask(doors.opened(*Scope), route, BEARER)
    assert answer.status_code == 403
    assert "ollama cloud is disabled" in answer.json["error"]
    assert ask(doors.opened(*Scope), route).status_code == 401


@pytest.mark.parametrize("route", ALLOWED)
def test_a_key_with_all_scopes_opens_all_and_none_opens_nothing(route: str, doors: Doors) -> None:
    assert ask(doors.opened(*Scope), route, BEARER).status_code not in {401, 403}
    assert ask(doors.opened(*Scope), route).status_code == 401


@pytest.mark.parametrize("ended", [{"expires_s": 1.0}, {"revoked_s": 1.0}], ids=["expired", "revoked"])
@pytest.mark.parametrize("route", [*ALLOWED, *sorted(PUBLIC)])
def test_a_key_that_has_ended_opens_nothing(route: str, ended: dict[str, Any], doors: Doors) -> None:
    assert ask(doors.opened(*Scope, **ended), route, BEARER).status_code == 401


@pytest.mark.parametrize("route", ALLOWED)
def test_a_key_for_other_models_reaches_none_of_these(route: str, doors: Doors) -> None:
    """Where a model is named: as unknown as one that is not there, or not to be changed."""
    door = doors.opened(*Scope, models=("other",))
    method, _, template = route.partition(" ")
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
        "/v1/completions": {"prompt": "x"},
        "/v1/embeddings": {"input": "x"},
        "/v1/rerank": {"query": "x", "documents": ["y"]},
        "/tokenize": {"content": "x"},
        "/detokenize": {"tokens": [1]},
        "/outpost/v1/fit": {},
        "/outpost/v1/load": {},
        "/outpost/v1/unload": {},
        "/v1/responses": {"input": "x"},
        "/v1/reranking": {"query": "x", "documents": ["y"]},
        "/rerank": {"query": "x", "documents": ["y"]},
        "/reranking": {"query": "x", "documents": ["y"]},
        "/infill": {"input_prefix": "x", "input_suffix": "y"},
        "/api/generate": {"prompt": "x"},
        "/api/chat": {"messages": [{"role": "user", "content": "x"}]},
        "/api/embed": {"input": "x"},
        "/api/embeddings": {"prompt": "x"},
        "/api/show": {},
    }
    changes: dict[str, dict[str, Any]] = {
        "/api/create": {"model": "tiny", "from": "tiny"},
        "/api/copy": {"source": "tiny", "destination": "other"},
        "/api/delete": {"model": "tiny"},
        "/api/pull": {"model": "tiny"},
        "/api/push": {"model": "tiny"},
    }
    headers = {"Content-Type": "application/json", **BEARER}
    if template in bodies:
        body = json.dumps({"model": MODEL, **bodies[template]})
        answer = door.client.simulate_request(method, template, host="localhost", headers=headers, body=body)
        message, code = refused(answer.json)
        assert answer.status_code == 404
        assert code in {"model_not_found", None}
        assert MODEL not in message.partition("available")[2]
    elif template in changes:
        body = json.dumps(changes[template])
        answer = door.client.simulate_request(method, template, host="localhost", headers=headers, body=body)
        assert answer.status_code == 403
    elif template == "/outpost/v1/operations":
        for asked in ({"verb": "remove", "name": "tiny"}, {"verb": "gc"}):
            assert door.post(template, asked, BEARER).status_code == 403
        unknown = door.post(template, {"verb": "remove", "name": "other"}, BEARER)
        assert (unknown.status_code, code_of(unknown)) == (404, "model_not_found")
        assert "tiny" not in unknown.text
    elif (method, template) in {("DELETE", "/v1/models/{model:path}"), ("POST", "/api/blobs/{digest}")}:
        assert ask(door, route, BEARER).status_code == 403
    elif template in PATHS and "keys" not in template:
        assert ask(door, route, BEARER).status_code == 404
    elif template in {"/v1/models", "/outpost/v1/models", "/api/tags", "/api/ps"} and method == "GET":
        told = ask(door, route, BEARER).json
        assert (told.get("data") or told.get("models") or []) == []


@pytest.mark.parametrize("route", ALLOWED)
def test_a_client_of_a_trusted_subnet_may_infer_and_nothing_else(route: str, doors: Doors) -> None:
    door = doors.opened(*Scope, subnets=("127.0.0.0/8",))
    answer = ask(door, route)
    assert (answer.status_code not in {401, 403}) == (route in INFER)
    assert answer.status_code != 403
    assert ask(door, route, {"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("route", ALLOWED)
def test_a_subnet_is_trusted_by_the_socket_and_not_by_a_header(route: str, doors: Doors) -> None:
    door = doors.opened(*Scope, subnets=("127.0.0.0/8",))
    for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        assert ask(door, route, {header: "127.0.0.1"}).status_code == 401
    assert ask(doors.opened(*Scope, subnets=("10.0.0.0/8",)), route).status_code == 401


@pytest.mark.parametrize("route", sorted(PUBLIC))
def test_what_is_public_asks_for_no_key_but_refuses_a_wrong_one(route: str, doors: Doors) -> None:
    status = 403 if "claim" in route else 200
    assert ask(doors.opened(), route).status_code == status
    assert ask(doors.opened(), route, {"X-Api-Key": "wrong"}).status_code == 401


@pytest.mark.parametrize("route", ALLOWED)
def test_without_keys_nothing_is_asked_for(route: str, doors: Doors) -> None:
    assert ask(doors.opened(keys=False), route).status_code not in {401, 403}


def test_a_key_for_inference_changes_nothing_in_the_store(doors: Doors) -> None:
    door = doors.opened(Scope.INFER)
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
def test_what_is_no_route_is_told_as_such_to_every_key(
    method: str, path: str, status: int, doors: Doors
) -> None:
    door = doors.opened(Scope.METRICS)
    answer = door.client.simulate_request(method, path, host="localhost", headers=BEARER)
    assert answer.status_code == status


def test_a_route_or_method_that_the_table_does_not_know_is_not_added() -> None:
    class Extra:
        def on_get(self, _req: Any, _resp: Any) -> None: ...

        def on_delete(self, _req: Any, _resp: Any) -> None: ...

    for route in ("/v1/new", "/v1/models"):
        with pytest.raises(ValueError, match=re.escape(route)):
            require_complete(route, Extra())


def test_public_paths_are_those_of_health_the_claim_the_documents_and_the_word_that_somebody_is_there() -> (
    None
):
    assert {route.partition(" ")[2] for route in PUBLIC} == route_scopes.PUBLIC_PATHS
