"""Many clients at once, and clients that go away."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import OpenAI

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import chat, stream_chat, streamed_text, text_of, wait_until

_CLIENTS = 50


def _word(client_number: int) -> str:
    """A text of its own for each client; not two have the same length and letters."""
    return (
        f"client {client_number}: " + "abcdefghij"[client_number % 10] * (1 + client_number // 10) + " done"
    )


def _stream_own_word(client: OpenAI, number: int) -> str:
    """The schema leaves one possible answer, so that any token of a neighbour would show."""
    named = {"name": "word", "schema": {"const": _word(number)}}
    chunks = stream_chat(
        client,
        f"Say something, client {number}.",
        response_format={"type": "json_schema", "json_schema": named},
        max_tokens=64,
    )
    assert [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason] == ["stop"]
    return streamed_text(chunks)


def test_fifty_streams_at_once_all_get_their_own_text_whole(client: OpenAI) -> None:
    with ThreadPoolExecutor(_CLIENTS) as pool:
        texts = list(pool.map(lambda number: _stream_own_word(client, number), range(_CLIENTS)))
    assert [json.loads(text) for text in texts] == [_word(number) for number in range(_CLIENTS)]


def test_fifty_free_streams_at_once_all_get_every_token(client: OpenAI) -> None:
    def tokens(number: int) -> int:
        fields = {
            "max_tokens": 16,
            "stream_options": {"include_usage": True},
            "extra_body": {"ignore_eos": True},
        }
        usage = stream_chat(client, f"Tell me about the number {number}.", **fields)[-1].usage
        return usage.completion_tokens if usage else 0

    with ThreadPoolExecutor(_CLIENTS) as pool:
        assert list(pool.map(tokens, range(_CLIENTS))) == [16] * _CLIENTS


def test_the_same_seed_gives_the_same_text_whatever_else_runs(client: OpenAI) -> None:
    fields = {"temperature": 1.0, "seed": 5, "max_tokens": 16}
    alone = text_of(chat(client, "Name a flower.", **fields))
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(chat, client, f"Count to {number}.", max_tokens=40) for number in (10, 20, 30)]
        beside = text_of(chat(client, "Name a flower.", **fields))
        for other in others:
            other.result()
    assert beside == alone


def test_a_client_that_goes_away_stops_its_compute(client: OpenAI, daemon: Daemon) -> None:
    with client.chat.completions.create(
        model=STARTER_NAME,
        messages=[{"role": "user", "content": "Tell me a long story."}],
        max_tokens=1900,
        stream=True,
        extra_body={"ignore_eos": True},
    ) as chunks:
        for _, _chunk in zip(range(5), chunks, strict=False):
            pass
        assert daemon.running_requests() == 1
    _assert_comes_to_rest(daemon)


def test_a_client_that_goes_away_stops_its_prefill(client: OpenAI, daemon: Daemon) -> None:
    chat(client, "Hello", max_tokens=1)
    text = " ".join(f"{number * 7919 % 10007}" for number in range(350))
    body = {"model": STARTER_NAME, "messages": [{"role": "user", "content": text}], "max_tokens": 500}
    connection = _post(daemon, body)
    wait_until(lambda: daemon.running_requests() == 1, within_s=5, what="the prefill begins")
    connection.close()
    _assert_comes_to_rest(daemon)


def _post(daemon: Daemon, body: dict[str, Any]) -> http.client.HTTPConnection:
    """A connection whose request is sent and whose answer is not read."""
    host, port = daemon.address
    connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers=headers)
    return connection


def _assert_comes_to_rest(daemon: Daemon) -> None:
    """The lease is back at once, and the runners stop computing long before the answer could be whole."""
    wait_until(lambda: daemon.running_requests() == 0, within_s=2, what="the lease is given back")
    pause = threading.Event()
    pause.wait(0.5)
    before_s = _runner_cpu_s(daemon)
    pause.wait(1.5)
    assert _runner_cpu_s(daemon) - before_s < 0.1


def _runner_cpu_s(daemon: Daemon) -> float:
    return sum(sum(runner.cpu_times()[:2]) for runner in daemon.runners())
