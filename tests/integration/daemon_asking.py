"""What the tests of a daemon with its store ask it, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.daemon import Daemon


def ask(daemon: Daemon, method: str, path: str, /, **body: Any) -> httpx.Response:
    return httpx.request(method, daemon.url + path, json=body or None, timeout=60.0, trust_env=False)


def lines(daemon: Daemon, verb: str, **arguments: Any) -> list[dict[str, Any]]:
    """Of the operation's answer."""
    answer = ask(daemon, "POST", "/outpost/v1/operations", verb=verb, **arguments)
    return [json.loads(line) for line in answer.text.strip().splitlines()]


def operate(daemon: Daemon, verb: str, **arguments: Any) -> dict[str, Any]:
    """The last line of the operation's answer."""
    return lines(daemon, verb, **arguments)[-1]


def succeeds(daemon: Daemon, verb: str, **arguments: Any) -> None:
    last = operate(daemon, verb, **arguments)
    assert last.get("status") == "success", (last, daemon.log()[-2000:])


def chat(daemon: Daemon, model: str, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "hello"}]
    return ask(daemon, "POST", "/v1/chat/completions", model=model, messages=messages, **more)


def served(daemon: Daemon) -> set[str]:
    return {model["id"] for model in ask(daemon, "GET", "/v1/models").json()["data"]}


def health(daemon: Daemon) -> dict[str, Any]:
    told: dict[str, Any] = ask(daemon, "GET", "/healthz").json()
    return told
