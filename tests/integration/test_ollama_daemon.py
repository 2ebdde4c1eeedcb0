"""Open WebUI's requests to an Ollama connection, in the order and form in which it sends them, to a real
daemon with tiny models.

As of its `backend/open_webui/routers/ollama.py` at commit a53ab70d937e (newer than v0.6, and the newest that
could be read) and what `utils/payload.py` makes of a chat: a key as a bearer, users in headers (or signed in
one), the chat's id in another, names with their spaces, `insecure` with every pull, a body with DELETE, calls
of tools with their ids, parameters of a model beside `options`; versions as three numbers, `model` of each
row, `expires_at` by `datetime.fromisoformat`, and `error` of what fails.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from gguf import PoolingType

from tests.daemon import Daemon
from tests.fakes import tiny_gguf
from tests.fakes.model_files import generator
from tests.integration.daemon_asking import succeeds
from tests.integration.open_webui import HEADERS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SIGNED = {
    "Authorization": "Bearer unused",
    "X-OpenWebUI-User-Jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
}
"""Who has set a secret for it: one header instead of four."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("ollama")
    embedder = tiny_gguf.write_encoder(directory / "embed.gguf", pooling=PoolingType.MEAN)
    with Daemon(directory / "one", models={"embedder": embedder}) as running:
        yield running


@pytest.fixture(scope="module")
def kept(daemon: Daemon) -> Daemon:
    """With a model that generates."""
    succeeds(daemon, "import", path=str(generator(seed=2)), name="kept")
    return daemon


def ask(daemon: Daemon, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    content = None if body is None else json.dumps(body).encode()
    return httpx.request(
        method, daemon.url + path, headers=HEADERS, content=content, timeout=60.0, trust_env=False
    )


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def models(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """What `get_all_models` makes of tags and ps."""
    found = {one["model"]: one for one in ask(daemon, "GET", "/api/tags").json()["models"]}
    for one in ask(daemon, "GET", "/api/ps").json()["models"]:
        expires_at = int(datetime.fromisoformat(one["expires_at"]).timestamp())
        found[one["model"]]["expires_at"] = expires_at
    return found


def test_a_connection_is_verified(daemon: Daemon) -> None:
    told = httpx.get(f"{daemon.url}/api/version", headers=SIGNED, trust_env=False)
    version = told.json()["version"]
    assert tuple(map(int, re.sub(r"^v|-.*", "", version).split("."))) >= (0, 6, 0)
    assert ask(daemon, "GET", "/").text == "Ollama is running"


def test_a_model_is_uploaded_made_asked_and_taken_away(daemon: Daemon) -> None:
    content = generator().read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    # `upload_model`: the file as the body, then create with its digest; both without a key.
    sent = httpx.post(f"{daemon.url}/api/blobs/{digest}", content=content, trust_env=False)
    assert sent.status_code == 201
    body: dict[str, Any] = {"model": "tiny", "files": {"tiny.gguf": digest}, "system": "Be kind."}
    made = lines(httpx.post(f"{daemon.url}/api/create", json=body, timeout=60.0, trust_env=False))
    assert made[-1] == {"status": "success"}
    assert any(line["status"].startswith("creating new layer") for line in made)

    row = models(daemon)["tiny:latest"]
    assert (row["name"], row["details"]["format"]) == ("tiny:latest", "gguf")
    shown = ask(daemon, "POST", "/api/show", {"model": "tiny:latest"}).json()
    assert shown["details"]["family"] == "llama"
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["system"] == "Be kind."
    assert shown["capabilities"] == ["completion"]

    # `generate_chat_completion`: an OpenAI payload turned into Ollama's.
    body = {
        "model": "tiny:latest",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "options": {"num_predict": 8, "stop": ["###"]},
        "keep_alive": "5m",
        "system": "Be kind.",
        "temperature": 0.8,  # of the model's own parameters, beside `options`
        "num_ctx": 2048,
    }
    answer = ask(daemon, "POST", "/api/chat", body)
    chunks = lines(answer)
    assert chunks[-1]["done"]
    assert chunks[-1]["eval_count"] <= 8
    warning = answer.headers["x-outpost-warning"]
    assert all(f"'{name}'" in warning for name in ("system", "temperature", "num_ctx"))
    left_s = models(daemon)["tiny:latest"]["expires_at"] - time.time()
    assert 200 < left_s <= 301

    # `generate_completion` for titles and tags, not streamed.
    body = {"model": "tiny:latest", "prompt": "title", "stream": False, "options": {"num_predict": 4}}
    whole = ask(daemon, "POST", "/api/generate", body).json()
    assert whole["done"]
    assert ask(daemon, "POST", "/api/generate", {**body, "context": whole["context"]}).status_code == 200

    # `unload_model`
    body = {"model": "tiny:latest", "keep_alive": 0, "prompt": ""}
    assert ask(daemon, "POST", "/api/generate", body).status_code == 200
    assert (
        ask(daemon, "POST", "/api/copy", {"source": "tiny:latest", "destination": "b:latest"}).status_code
        == 200
    )
    assert {"tiny:latest", "b:latest"} <= set(models(daemon))
    assert ask(daemon, "DELETE", "/api/delete", {"model": "tiny:latest"}).status_code == 200
    assert ask(daemon, "DELETE", "/api/delete", {"name": "b:latest", "model": "b:latest"}).status_code == 200
    assert {"tiny:latest", "b:latest"}.isdisjoint(models(daemon))
    gone = ask(daemon, "DELETE", "/api/delete", {"name": "b:latest", "model": "b:latest"})
    assert (gone.status_code, gone.json()) == (404, {"error": "model 'b:latest' not found"})


def test_documents_are_embedded(daemon: Daemon) -> None:
    body = {"model": "embedder:latest", "input": ["hello", "world"], "truncate": True}
    told = ask(daemon, "POST", "/api/embed", body).json()
    assert len(told["embeddings"]) == 2
    assert sum(value * value for value in told["embeddings"][0]) == pytest.approx(1.0, abs=1e-4)
    cut = ask(daemon, "POST", "/api/embed", {**body, "dimensions": 8}).json()["embeddings"][0]
    assert len(cut) == 8
    older = ask(daemon, "POST", "/api/embeddings", {"model": "embedder", "prompt": "hello"}).json()
    assert older["embedding"] == pytest.approx(told["embeddings"][0], abs=1e-5)


def test_a_model_that_does_not_generate_says_so(daemon: Daemon) -> None:
    answer = ask(
        daemon, "POST", "/api/chat", {"model": "embedder", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_a_pull_from_where_nobody_may_call_is_refused_with_the_reason(daemon: Daemon) -> None:
    """Its answer is handed to a page as it is: an error before the stream is JSON with `error`."""
    body = {"name": "r.example/a/b", "model": "r.example/a/b", "insecure": True}
    answer = ask(daemon, "POST", "/api/pull", body)
    told = lines(answer)[-1] if answer.status_code == 200 else answer.json()
    assert "r.example" in told["error"]
    pushed = ask(daemon, "POST", "/api/push", {"model": "r.example/a/b", "stream": True})
    assert "error" in (lines(pushed)[-1] if pushed.status_code == 200 else pushed.json())


def test_a_chat_with_tools_their_results_and_a_form_for_the_answer(kept: Daemon) -> None:
    call = {
        "index": 0,
        "id": "call_1",
        "function": {"name": "lamp", "arguments": {"on": True}},
    }
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    body = {
        "model": "kept:latest",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Light, please"},
            {"role": "assistant", "tool_calls": [call], "content": ""},
            {"role": "tool", "content": "done", "tool_call_id": "call_1"},
            {"role": "user", "content": "And?"},
        ],
        "stream": False,
        "tools": [{"type": "function", "function": {"name": "lamp", "parameters": {"type": "object"}}}],
        "options": {"num_predict": 64, "seed": 3},
    }
    assert ask(kept, "POST", "/api/chat", body).json()["done"]
    del body["tools"]
    formed = ask(kept, "POST", "/api/chat", {**body, "format": schema, "think": False}).json()
    assert isinstance(json.loads(formed["message"]["content"])["ok"], bool)
    pictured = {"model": "kept:latest", "messages": [{"role": "user", "content": "See?", "images": ["aGk="]}]}
    refused = ask(kept, "POST", "/api/chat", pictured)
    assert refused.status_code == 400
    assert "images" in refused.json()["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "hi", "max_tokens": 4}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 16}),
    ],
)
def test_an_ollama_connection_speaks_the_other_dialects_too(
    kept: Daemon, path: str, body: dict[str, Any]
) -> None:
    whole = ask(kept, "POST", path, {"model": "kept:latest", **body})
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
    streamed = ask(kept, "POST", path, {"model": "kept:latest", **body, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")


def test_an_uploaded_file_that_is_no_model_gets_no_name(daemon: Daemon) -> None:
    content = b"no model at all" * 1000
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert httpx.post(f"{daemon.url}/api/blobs/{digest}", content=content, trust_env=False).status_code == 201
    body = {"model": "bad", "stream": False, "files": {"a.gguf": digest}}
    refused = ask(daemon, "POST", "/api/create", body)
    assert (refused.status_code, set(refused.json())) == (400, {"error"})
    assert "bad:latest" not in models(daemon)
