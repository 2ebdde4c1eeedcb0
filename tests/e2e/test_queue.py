"""The queue and the progress of long prompts, with the starter model and the real SDK."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from openai import OpenAI

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import stream_chat, streamed_text

pytestmark = pytest.mark.e2e

PREFILL = re.compile(r": prefill (\d+)/(\d+) (\d+)%(?: eta_s=\d+)?")
AT_ONCE = (1, 4, 16)
"""Long prompts, until some board has been slow enough to be asked how far it is."""


def long_prompt(number: int) -> str:
    """Some 900 tokens that no other prompt begins with."""
    return f"Report {number}. " + " ".join(
        f"Sensor {n} of station {number} read {n * 7 % 90}." for n in range(110)
    )


def streamed_lines(daemon: Daemon, number: int) -> list[str]:
    body = {
        "model": STARTER_NAME,
        "messages": [{"role": "user", "content": long_prompt(number)}],
        "max_tokens": 4,
        "stream": True,
    }
    url = f"{daemon.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=300) as answer:
        assert answer.status_code == 200, answer.read()
        return [line for line in answer.iter_lines() if line]


def notes_of(lines: list[str]) -> list[str]:
    """Of the prefill, which must grow and stay within the prompt."""
    marks = [match for line in lines if (match := PREFILL.fullmatch(line))]
    done = [int(mark[1]) for mark in marks]
    assert done == sorted(done)
    assert all(int(mark[1]) <= int(mark[2]) and 500 < int(mark[2]) < 2048 for mark in marks)
    assert lines[-1] == "data: [DONE]"
    return [mark[0] for mark in marks]


def test_a_long_prefill_says_how_far_it_is(daemon: Daemon) -> None:
    told: list[str] = []
    for width in AT_ONCE:
        with ThreadPoolExecutor(width) as pool:
            numbers = range(100 * width, 101 * width)
            for lines in pool.map(lambda number: streamed_lines(daemon, number), numbers):
                told += notes_of(lines)
        if told:
            break
    assert len(told) >= 1
    print(f"{len(told)} notes of prefill, {width} long prompts at once; the last: {told[-1]}")


def test_the_sdk_reads_a_stream_with_notes_of_its_prefill(client: OpenAI) -> None:
    headers = {"X-Outpost-Progress": "1", "X-Outpost-Priority": "background", "X-Outpost-Deadline-S": "300"}
    chunks = stream_chat(client, long_prompt(7), max_tokens=8, extra_headers=headers)
    assert streamed_text(chunks)
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def test_a_deadline_that_passes_in_the_middle_of_an_answer_ends_it(daemon: Daemon) -> None:
    asked_s = time.monotonic()
    answer = httpx.post(
        f"{daemon.url}/v1/completions",
        json={"model": STARTER_NAME, "prompt": "Once", "max_tokens": 2000, "ignore_eos": True},
        headers={"X-Outpost-Deadline-S": "0.5"},
        timeout=60,
    )
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert time.monotonic() - asked_s < 10


def test_the_queue_is_told_and_empty_when_nobody_waits(daemon: Daemon) -> None:
    assert httpx.get(f"{daemon.url}/v1/queue").json() == {"object": "list", "data": []}
    page = httpx.get(f"{daemon.url}/metrics").text
    assert 'outpost_queue_waiting{priority="background"} 0' in page
