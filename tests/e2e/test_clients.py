"""Clients that people already use, each a program of its own, against the real daemon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from provision.bootstrap import clients
from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HERE: Final = Path(__file__).parents[1] / "clients"
EMBEDDER: Final = "tiny-embed"


def seen_by(script: str, daemon: Daemon, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the client printed."""
    place = clients.directory()
    assert (place / ".done").exists(), "`make test` gets the clients"
    path = HERE / script
    if path.suffix == ".mjs":  # node looks for modules from where the script is
        copy = place / script
        copy.write_bytes(path.read_bytes())
        command = ["node", str(copy)]
    else:
        command = [str(clients.python()), "-I", str(path)]
    done = subprocess.run(
        [*command, daemon.url, STARTER_NAME, EMBEDDER],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place), **(env or {})},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    # What it has given up is not computed on.
    wait_until(lambda: daemon.running_requests() == 0, within_s=10, what="nothing runs for it any more")
    return found


def test_openai_for_javascript(daemon: Daemon) -> None:
    seen = seen_by("openai_client.mjs", daemon)
    assert STARTER_NAME in seen["models"]
    assert seen["chat"]["text"] == seen["stream"]["text"]
    assert seen["chat"]["usage"]["completion_tokens"] == seen["stream"]["usage"]["completion_tokens"] == 8
    assert seen["tools"]["name"] == "weather"
    assert isinstance(seen["tools"]["arguments"]["town"], str)
    assert seen["tool_result"] in {"length", "stop"}
    assert isinstance(seen["structured"]["town"], str)
    assert len(set(seen["embeddings"])) == 1
    assert seen["errors"] == {
        "unknown_model": {"type": "NotFoundError", "status": 404, "code": "model_not_found"},
        "bad_request": {"type": "BadRequestError", "status": 400, "code": "invalid_value"},
    }
    assert seen["cancelled_after"] == 5


@pytest.mark.parametrize("script", ["langchain_openai_client.py", "litellm_client.py"])
def test_openai_by_way_of_others(daemon: Daemon, script: str) -> None:
    seen = seen_by(script, daemon)
    assert seen["chat"]["text"] == seen["stream"]
    assert seen["tools"] == "weather"
    assert isinstance(seen["structured"]["town"], str)
    assert len(set(seen["embeddings"])) == 1
    assert seen["unknown_model"] == 404
    assert seen["cancelled_after"] == 5


def test_ollama_for_javascript(daemon: Daemon) -> None:
    seen = seen_by("ollama_client.mjs", daemon)
    assert f"{STARTER_NAME}:latest" in seen["models"]
    assert seen["chat"]["text"] == seen["stream"]["text"]
    assert (seen["chat"]["count"], seen["stream"]["count"]) == (8, 8)
    assert (seen["chat"]["reason"], seen["stream"]["done"]) == ("length", True)
    assert seen["stream"]["total_ns"] > 0
    assert seen["generate"]["text"]
    assert seen["generate"]["context"]
    assert seen["tools"]
    assert isinstance(seen["structured"]["town"], str)
    assert len(set(seen["embeddings"])) == 1
    assert seen["show"]["capabilities"] == ["completion"]
    assert f"{STARTER_NAME}:latest" in seen["ps"]
    assert seen["unknown_model"] == {
        "type": "ResponseError",
        "status": 404,
        "message": "model 'no-such-model' not found",
    }
    assert seen["cancelled_after"] == 5


def test_ollama_by_way_of_langchain(daemon: Daemon) -> None:
    seen = seen_by("langchain_ollama_client.py", daemon)
    assert seen["chat"]["text"] == seen["stream"]
    assert seen["chat"]["usage"]["output_tokens"] == 8
    assert seen["tools"]
    assert isinstance(seen["structured"]["town"], str)
    assert len(set(seen["embeddings"])) == 1
    assert seen["unknown_model"] == 404
    assert seen["cancelled_after"] == 5
