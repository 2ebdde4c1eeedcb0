"""Text made to keep the tokenizer busy: refused in time, and nobody else waits for it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from openai import OpenAI

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import chat, text_of

MEGABYTES = 8
DECIDED_WITHIN_S = 3.0
"""2 s, and what a busy test machine adds to sending and reading the megabytes."""


def post(daemon: Daemon, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
    request = urllib.request.Request(
        f"{daemon.url}{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer), time.monotonic() - began_s
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), time.monotonic() - began_s


DASHES = "-" * (MEGABYTES * 1024 * 1024)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": DASHES}]}),
        ("/v1/completions", {"prompt": DASHES}),
        ("/v1/completions", {"prompt": "a", "suffix": DASHES}),
    ],
    ids=["chat", "completion", "suffix"],
)
def test_megabytes_of_one_word_are_refused_in_time(daemon: Daemon, path: str, body: dict[str, Any]) -> None:
    status, answer, took_s = post(daemon, path, {"model": STARTER_NAME, **body})
    assert (status, answer["error"]["code"]) in {
        (400, "context_length_exceeded"),
        (400, "unsupported_parameter"),  # the starter model has no tokens for a suffix
    }
    assert took_s < DECIDED_WITHIN_S


def test_megabytes_for_an_embedding_are_refused_in_time(daemon: Daemon) -> None:
    status, answer, took_s = post(
        daemon, "/v1/embeddings", {"model": "tiny-embed", "input": "a" * len(DASHES)}
    )
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert took_s < DECIDED_WITHIN_S


def test_while_megabytes_are_counted_others_are_answered(daemon: Daemon, client: OpenAI) -> None:
    text_of(chat(client, "Hello", max_tokens=1))
    counting = threading.Thread(
        target=post, args=(daemon, "/tokenize", {"model": STARTER_NAME, "content": DASHES[: 1 << 20]})
    )
    counting.start()
    time.sleep(0.2)
    began_s = time.monotonic()
    text_of(chat(client, "Hello", max_tokens=1))
    took_s = time.monotonic() - began_s
    counting.join()
    assert took_s < 1.5
