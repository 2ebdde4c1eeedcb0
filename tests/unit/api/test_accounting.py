"""Quotas at the door: what is counted, what is refused, and what the headers say."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.api.accounting import go_duration
from appliance.errors import Overloaded, RunnerDied
from appliance.wire.messages import Delta, Progress, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, Line, text_of
from tests.unit.api.books import Books
from tests.unit.api.door import Door, events_of, refusal

KEY = access_keys.generate()
BEARER = {"Authorization": f"Bearer {KEY.text}"}
RING = KeyRing({KEY.key_id: StoredKey(sha256=KEY.sha256)})
FULL = (7, 3, 2)
"""What the fake's "Hello" costs: prompt, cached, output."""


def opened(inference: FakeInference | None = None, *, batch: int = 1, **bounds: int) -> tuple[Door, Books]:
    books = Books(**bounds)
    return Door(inference or FakeInference(batch=batch), keys=RING, accounting=books.accounting), books


def remaining(door: Door) -> int:
    """Tokens of this minute, told with a request that computes nothing."""
    answer = door.post("/v1/chat/completions", {}, BEARER)
    return int(answer.headers["x-ratelimit-remaining-tokens"])


def scripted(*lines: Line) -> FakeInference:
    return FakeInference(script=lambda _: lines)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("batch", [1, 99])
def test_a_request_is_in_the_books_with_its_tokens(stream: bool, batch: int) -> None:
    door, books = opened(batch=batch)
    assert door.chat(BEARER, stream=stream).status_code == 200
    assert books.of(KEY.key_id, MODEL) == FULL
    assert books.requests == [(KEY.key_id, MODEL, False)]


def test_without_keys_it_is_nobodys() -> None:
    books = Books(requests_per_min=1)
    door = Door(accounting=books.accounting)
    for _ in range(3):
        answer = door.chat()
        assert answer.status_code == 200
        assert not any("ratelimit" in name for name in answer.headers)
    assert books.of("", MODEL) == tuple(3 * count for count in FULL)


@pytest.mark.parametrize("stream", [False, True])
def test_who_fails_in_mid_answer_pays_for_what_was_computed(stream: bool) -> None:
    inference = scripted(*text_of("a", "b", "c")[:2], RunnerDied(model="m", cause="x"))
    door, books = opened(inference, tokens_per_min=100)
    door.chat(BEARER, stream=stream)
    assert books.of(KEY.key_id, MODEL) == (7, 0, 2)
    assert books.requests == [(KEY.key_id, MODEL, True)]
    assert remaining(door) == 91


def test_who_fails_in_mid_prompt_pays_for_that_part() -> None:
    part = Progress(id=1, done_tokens=4, total_tokens=7)
    door, books = opened(scripted(part, RunnerDied(model="m", cause="x")), tokens_per_min=100)
    door.chat(BEARER)
    assert books.of(KEY.key_id, MODEL) == (4, 0, 0)


def test_what_the_runner_counts_at_the_end_settles_it() -> None:
    *lines, last = text_of("a", "b")
    assert isinstance(last, Delta)
    usage = Usage(prompt_tokens=9, cached_tokens=3, completion_tokens=5)
    lines.append(msgspec.structs.replace(last, usage=usage))
    door, books = opened(scripted(*lines))
    door.chat(BEARER)
    assert books.of(KEY.key_id, MODEL) == (9, 3, 5)


def test_what_was_computed_and_not_fetched_is_paid_when_the_client_goes() -> None:
    door, books = opened(FakeInference(script=lambda _: text_of(*"abcdefgh"), batch=3))
    body = door.client.simulate_post(
        "/v1/chat/completions",
        json={"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True},
        headers=BEARER,
        host="localhost",
        extras={"waitress.client_disconnected": lambda: True},
    )
    assert body.status_code == 200
    assert books.of(KEY.key_id, MODEL)[2] >= 3
    assert door.inference.generations[0].is_closed


def test_several_prompts_are_each_counted() -> None:
    door, books = opened(tokens_per_min=100)
    answer = door.post("/v1/completions", {"model": MODEL, "prompt": ["a", "b", "c"]}, BEARER)
    assert answer.status_code == 200
    assert books.of(KEY.key_id, MODEL) == (21, 9, 6)
    assert books.requests == [(KEY.key_id, MODEL, False)]
    assert answer.headers["x-ratelimit-remaining-tokens"] == "73"


def test_embeddings_pay_for_their_prompt() -> None:
    door, books = opened(tokens_per_min=100)
    answer = door.post("/v1/embeddings", {"model": MODEL, "input": "x"}, BEARER)
    tokens = answer.json["usage"]["prompt_tokens"]
    assert tokens > 0
    assert books.of(KEY.key_id, MODEL) == (tokens, 0, 0)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(100 - tokens)


def test_one_too_many_is_429_and_says_when_and_is_then_taken() -> None:
    door, books = opened(requests_per_min=2)
    door.chat(BEARER)
    last = door.chat(BEARER)
    assert last.headers["x-ratelimit-limit-requests"] == "2"
    assert last.headers["x-ratelimit-remaining-requests"] == "0"
    assert last.headers["x-ratelimit-reset-requests"] == "1m0s"
    refused = door.chat(BEARER)
    assert refusal(refused) == (429, None, "rate_limit_exceeded")
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("30", "30000")
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert books.requests[-1] == (KEY.key_id, "", True)
    books.now_ns += 30 * 10**9
    assert door.chat(BEARER).status_code == 200
    assert len(door.inference.requests) == 3


def test_a_prompt_beyond_what_is_left_is_429_before_a_token_of_it() -> None:
    door, books = opened(tokens_per_min=10)
    assert door.chat(BEARER).status_code == 200
    refused = door.chat(BEARER, stream=True)
    assert refusal(refused) == (429, None, "rate_limit_exceeded")
    assert door.inference.generations[-1].closed_after == 0
    assert books.of(KEY.key_id, MODEL) == FULL
    books.now_ns += int(refused.headers["retry-after"]) * 10**9
    assert door.chat(BEARER).status_code == 200


def test_a_prompt_that_never_fits_is_told_not_to_come_again() -> None:
    door, _ = opened(tokens_per_day=6)
    refused = door.chat(BEARER)
    assert refusal(refused) == (429, None, "prompt_exceeds_quota")
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers


def test_a_refusal_while_it_waits_is_the_last_event_for_who_wants_progress() -> None:
    door, books = opened(FakeInference(looks=3), tokens_per_day=6)
    answer = door.chat({**BEARER, "X-Outpost-Progress": "1"}, stream=True)
    assert events_of(answer)[-1]["error"]["code"] == "prompt_exceeds_quota"
    assert books.requests == [(KEY.key_id, MODEL, True)]


def test_all_bounds_are_told_in_the_drafts_form() -> None:
    door, _ = opened(requests_per_min=60, tokens_per_min=100, tokens_per_day=1000, concurrency=3)
    headers = door.chat(BEARER).headers
    assert headers["ratelimit-policy"] == (
        '"requests-per-min";q=60;w=60, "tokens-per-min";q=100;w=60, "tokens-per-day";q=1000;w=86400'
    )
    assert headers["ratelimit"] == (
        '"requests-per-min";r=59;t=1, "tokens-per-min";r=91;t=6, "tokens-per-day";r=991;t=86400'
    )
    assert headers["x-ratelimit-limit-tokens"] == "100"


def test_no_more_at_once_than_a_key_may_and_an_end_of_any_kind_gives_the_place_back() -> None:
    for inference in (
        FakeInference(),
        FakeInference(refuse=Overloaded(waiting=1, limit=1, retry_after_s=1.0)),
        scripted(RunnerDied(model="m", cause="x")),
        FakeInference(refuse=RuntimeError("bug")),
    ):
        door, _ = opened(inference, concurrency=1)
        codes = [door.chat(BEARER, stream=stream).status_code for stream in (False, True, False)]
        assert 429 not in codes
        assert 429 not in [door.chat(BEARER, model="nope").status_code for _ in range(3)]
        assert 429 not in [door.post("/v1/chat/completions", {}, BEARER).status_code for _ in range(3)]


def test_looking_is_not_counted() -> None:
    door, books = opened(requests_per_min=1)
    for path in ("/v1/models", "/v1/queue", "/outpost/v1/usage"):
        for _ in range(3):
            assert door.get(path, BEARER).status_code == 200
    assert books.requests == []


def test_an_unknown_model_makes_no_row_of_its_own() -> None:
    door, books = opened()
    for number in range(3):
        door.chat(BEARER, model=f"nope-{number}")
    assert books.requests == [(KEY.key_id, "", True)] * 3


def test_the_request_line_says_whose_it_was(journal: list[MutableMapping[str, Any]]) -> None:
    door, _ = opened(scripted(*text_of("a", "b")[:1], RunnerDied(model="m", cause="x")))
    door.chat(BEARER, stream=True)
    (line,) = [entry for entry in journal if entry["event"] == "request"]
    assert (line["key"], line["client"], line["model"]) == (KEY.key_id, "127.0.0.1", MODEL)
    assert (line["status"], line["error"], line["output_tokens"]) == (200, "runner_died", 1)


# ── wrong keys
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_keys_are_slowed_and_a_good_one_from_there_passes() -> None:
    door, books = opened()
    wrong = {"Authorization": f"Bearer {access_keys.generate().text}"}
    codes = [door.get("/v1/models", wrong).status_code for _ in range(50)]
    assert codes.count(401) <= 10
    refused = door.get("/v1/models", {"X-Api-Key": "not even a key"})
    assert refusal(refused) == (429, None, "too_many_attempts")
    wait_s = int(refused.headers["retry-after"])
    assert door.get("/v1/models", BEARER).status_code == 200
    books.now_ns += wait_s * 10**9
    assert door.get("/v1/models", wrong).status_code == 401


def test_to_send_no_key_is_no_guess() -> None:
    door, _ = opened()
    assert {door.get("/v1/models").status_code for _ in range(50)} == {401}


# ── words
# ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (12 * 10**6, "12ms"),
        (1500 * 10**6, "1.5s"),
        (360 * 10**9, "6m0s"),
        (86_399 * 10**9, "23h59m59s"),
        (86_400 * 10**9, "24h0m0s"),
    ],
)
def test_a_reset_is_written_as_openai_writes_it(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text


@given(st.integers(0, 10**16))
def test_a_reset_is_never_told_too_short(nanoseconds: int) -> None:
    text, seconds = go_duration(nanoseconds), 0.0
    for unit, length in (("h", 3600.0), ("ms", 0.001), ("m", 60.0), ("s", 1.0)):
        if unit == "m" and "ms" in text:
            continue
        head, found, rest = text.partition(unit)
        if found:
            seconds, text = seconds + float(head) * length, rest
    assert text == ""
    assert math.ceil(nanoseconds / 1e6) / 1000 <= seconds + 1e-6
