"""`docs/ollama.md` and the code have the same routes, options and fields; and each route of Ollama works, or
is refused by name.
"""

from __future__ import annotations

import re
from pathlib import Path

import falcon.testing
import pytest

from appliance.api.ollama import bodies, cloud
from appliance.api.route_scopes import TABLE
from appliance.modelfile import PARAMETERS
from appliance.store.digest import digest_of
from tests.fakes.fake_inference import MODEL
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import USER

PAGE = (Path(__file__).parents[4] / "docs" / "ollama.md").read_text()
NAMED = set(re.findall(r"`([a-z0-9_]+)`", PAGE))
ROUTE = re.compile(r"`(GET|HEAD|POST|DELETE) (/[^`]*)`")
ROWS = {
    f"{method} {path}": row.split("|")[2].strip()
    for row in PAGE.splitlines()
    if row.startswith("| `")
    for method, path in ROUTE.findall(row.split("|")[1])
}
BLOB = digest_of(b"gguf")

# Ollama's own table (server/routes.go of 0.32), written out: what must be here.
OLLAMA = {
    "HEAD /",
    "GET /",
    "HEAD /api/version",
    "GET /api/version",
    "GET /api/status",
    "HEAD /api/tags",
    "GET /api/tags",
    "GET /api/ps",
    "POST /api/show",
    "POST /api/create",
    "POST /api/blobs/{digest}",
    "HEAD /api/blobs/{digest}",
    "POST /api/copy",
    "DELETE /api/delete",
    "POST /api/pull",
    "POST /api/push",
    "POST /api/generate",
    "POST /api/chat",
    "POST /api/embed",
    "POST /api/embeddings",
    "POST /api/me",
    "POST /api/signout",
    "DELETE /api/user/keys/{key}",
    "POST /api/experimental/web_search",
    "POST /api/experimental/web_fetch",
    "GET /api/experimental/model-recommendations",
}
BODIES = {
    "/api/generate": {"model": MODEL, "prompt": "hi"},
    "/api/chat": {"model": MODEL, "messages": [USER]},
    "/api/embed": {"model": MODEL, "input": "hi"},
    "/api/embeddings": {"model": MODEL, "prompt": "hi"},
    "/api/show": {"model": "tiny"},
    "/api/create": {"model": "new", "from": "tiny"},
    "/api/copy": {"source": "tiny", "destination": "b"},
    "/api/delete": {"model": "tiny"},
    "/api/pull": {"model": "tiny"},
    "/api/push": {"model": "tiny"},
}


def ask(route: str) -> falcon.testing.Result:
    method, _, path = route.partition(" ")
    door = Door(store=FakeStoreVerbs(blobs={BLOB: b"gguf"}))
    path = path.replace("{digest}", BLOB).replace("{key}", "abc")
    told = {"host": "localhost", "json": BODIES[path]} if path in BODIES else {"host": "localhost"}
    return door.client.simulate_request(method, path, **told)


@pytest.mark.parametrize("route", sorted(OLLAMA))
def test_every_route_of_ollama_works_or_is_refused_with_the_reason_of_the_page(route: str) -> None:
    answer = ask(route)
    refused = re.match(r"refused \((\d+)\): .", ROWS[route])
    assert answer.status_code == (int(refused[1]) if refused else 200)
    if refused:
        assert answer.json["error"].startswith("ollama cloud is disabled: ")


def test_the_page_has_every_route_of_the_code_and_no_other() -> None:
    here = {
        f"{method} {route}"
        for route, methods in TABLE.items()
        if route == "/" or route.startswith("/api/")
        for method in methods
    }
    assert set(ROWS) == here
    assert here >= OLLAMA
    assert {row for row in ROWS if ROWS[row].startswith("refused")} == {
        f"{method} {route}" for route, (method, _) in cloud.ROUTES.items()
    }


def test_the_page_has_every_option() -> None:
    assert set(PARAMETERS) <= NAMED


def test_the_page_has_every_field_that_differs() -> None:
    told = {*bodies.GenerateBody.model_fields, *bodies.ChatBody.model_fields}
    obvious = {"model", "prompt", "messages", "options", "debug_render_only"}
    assert told - obvious <= NAMED
