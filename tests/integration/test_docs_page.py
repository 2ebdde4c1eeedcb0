"""The page of routes in a real browser without a network, and its examples in a real shell."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import pytest
from gguf import PoolingType

from appliance.access import keys as access_keys
from appliance.api.openapi.page import curl, page
from tests import curl_examples
from tests.daemon import Daemon
from tests.fakes import tiny_gguf
from tests.fakes.model_files import generator
from tests.integration.browser import Browser
from tests.integration.daemon_asking import succeeds

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

EVIL: Final = '<img src="http://elsewhere.example/a" onerror="document.title=1">'
_SCOPES: Final = '["infer", "models:read", "models:write", "keys:admin", "metrics", "system"]'


@dataclass(frozen=True)
class Keyed:
    daemon: Daemon
    key: str


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """The models that the examples name."""
    directory = tmp_path_factory.mktemp("page")
    models = {
        "tiny": tiny_gguf.write_generator(directory / "tiny.gguf", infill=True),
        "embedder": tiny_gguf.write_encoder(directory / "embedder.gguf", pooling=PoolingType.MEAN),
        "reranker": tiny_gguf.write_encoder(directory / "reranker.gguf", pooling=PoolingType.RANK),
    }
    key = access_keys.generate()
    config = f'[access.keys]\n{key.key_id} = {{ sha256 = "{key.sha256}", scopes = {_SCOPES} }}\n'
    with Daemon(directory / "one", models=models, config=config + "[engine]\nn_ctx_seq = 512\n") as daemon:
        yield Keyed(daemon, key.text)


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """With a model in its store."""
    with Daemon(tmp_path_factory.mktemp("keyless"), models={}) as daemon:
        succeeds(daemon, "import", path=str(generator()), name="kept")
        yield daemon


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert shutil.which("chromium"), "chromium is missing: apt-get install chromium"
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def test_the_page_lists_every_route_and_asks_nobody_else(keyed: Keyed, browser: Browser) -> None:
    seen = browser.open(f"{keyed.daemon.url}/docs")
    assert seen.console == []
    assert {urlsplit(url).path for url in seen.requests} == {"/docs", "/docs/style.css"}
    assert seen.hosts == {urlsplit(keyed.daemon.url).netloc}
    assert set(seen.statuses.values()) == {200}
    document = json.loads(keyed.daemon.get("/openapi.json"))
    rows = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    assert len(rows) > 70
    assert [row for row in rows if row not in seen.text] == []
    assert seen.elements.isdisjoint({"script", "img", "iframe", "object", "form"})


def test_the_browser_would_tell(browser: Browser) -> None:
    """What is asked of another host, and what a console says, is seen by the test above."""

    class Bad(BaseHTTPRequestHandler):
        timeout = 5  # of connections that the browser opens and does not use

        def do_GET(self) -> None:
            body = b"<script>console.log('here')</script><img src='http://elsewhere.example/a'>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bad)
    thread = Thread(target=server.serve_forever, name="bad-page")
    thread.start()
    try:
        seen = browser.open(f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "http://elsewhere.example/a" in seen.requests
    assert any("here" in line for line in seen.console)
    assert any("ERR_NAME_NOT_RESOLVED" in line for line in seen.console)
    assert {"script", "img"} <= seen.elements


def test_a_hostile_document_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    operation: dict[str, Any] = {
        "operationId": EVIL,
        "summary": EVIL,
        "description": EVIL,
        "tags": [EVIL],
        "security": [],
        "x-outpost-scopes": [EVIL],
        "responses": {"default": {"description": EVIL}},
    }
    document = {
        "info": {"title": EVIL, "version": EVIL, "description": EVIL},
        "tags": [{"name": EVIL, "description": EVIL}],
        "paths": {f"/{EVIL}": {"get": operation}},
        "components": {"schemas": {}},
    }
    (tmp_path / "page.html").write_text(page(document))
    seen = browser.open(f"file://{tmp_path}/page.html")
    assert "img" not in seen.elements
    assert seen.text.count(EVIL) >= 6
    assert seen.hosts == {""}


@pytest.mark.parametrize("path", ["/v1/models/{}", "/docs/{}", "/healthz/{}", "/{}"])
def test_what_an_answer_repeats_of_its_address_is_text(keyless: Daemon, browser: Browser, path: str) -> None:
    """Somebody follows a link with markup where a model's name belongs; the answer names it."""
    seen = browser.open(keyless.url + path.format(quote(EVIL, safe="")))
    assert seen.statuses[seen.requests[0]] == 404
    assert "img" not in seen.elements
    assert seen.hosts == {urlsplit(keyless.url).netloc}
    assert '"error"' in seen.text
    if path.startswith("/v1"):
        assert EVIL.replace('"', '\\"') in seen.text


def test_a_stored_model_with_markup_in_it_is_shown_as_text(keyless: Daemon, browser: Browser) -> None:
    """Names have no markup; what a Modelfile says has."""
    made = httpx.post(
        f"{keyless.url}/api/create",
        json={"model": "evil", "from": "kept", "system": EVIL, "license": EVIL, "stream": False},
        timeout=60,
        trust_env=False,
    )
    assert made.json() == {"status": "success"}
    for path in ("/outpost/v1/models/evil", "/outpost/v1/models", "/api/tags", "/v1/models"):
        seen = browser.open(keyless.url + path)
        assert seen.statuses[seen.requests[0]] == 200
        assert "img" not in seen.elements
        assert seen.hosts == {urlsplit(keyless.url).netloc}
        assert "evil" in seen.text
    refused = httpx.post(
        f"{keyless.url}/api/create", json={"model": EVIL, "from": "kept"}, timeout=60, trust_env=False
    )
    assert refused.status_code == 400


_OFFLINE: Final = ("/api/experimental/", "/api/me", "/api/sign", "/api/user/", "/api/web_", "/api/pull")
"""Refused with 403, as the page says: an Outpost calls nobody."""
_OTHER: Final = {
    "/outpost/v1/claim": 403,  # claimed
    "/detokenize": 400,  # tokens of a larger vocabulary than the tiny model's
    "/api/copy": 404,  # and below: of models in the store; the tiny one is of the configuration
    "/api/create": 404,
    "/api/delete": 404,
    "/api/push": 404,
    "/outpost/v1/operations": 404,
}


def _expected(path: str) -> set[int]:
    if path in _OTHER:
        return {_OTHER[path]}
    if path.startswith(_OFFLINE):
        return {403}
    return {400, 404} if "{" in path else {200, 201}


def test_every_example_of_the_page_reaches_its_route(keyed: Keyed, tmp_path: Path) -> None:
    """Those whose path has a gap are asked as they stand: there is nothing of that name."""
    document = json.loads(keyed.daemon.get("/openapi.json"))
    (tmp_path / "FILE").write_bytes(b"x")
    env = {"OUTPOST": keyed.daemon.url, "KEY": keyed.key}
    faults = []
    for path, item in document["paths"].items():
        for method, told in item.items():
            answer = curl_examples.run(curl(method, path, told), keyed.daemon.url, tmp_path, env)
            is_documented = str(answer.status) in told["responses"]
            if answer.exit_code or answer.status not in _expected(path) or not is_documented:
                faults.append((method, path, answer))
    assert faults == []


def test_chromium_is_the_one_of_this_machine() -> None:
    told = subprocess.run(["chromium", "--version"], capture_output=True, text=True, check=False)
    assert told.stdout.startswith("Chromium ")
