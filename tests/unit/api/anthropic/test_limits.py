"""How it stands with a key's bounds, as Anthropic's clients look for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import falcon
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.access.quota_rules import Allowance, Bound
from appliance.api.anthropic.limits import HEADERS, headers_of
from tests.fakes.fake_inference import FakeInference
from tests.unit.api.anthropic.asked import HELLO, VERSION, post
from tests.unit.api.books import Books
from tests.unit.api.door import Door

KEY = access_keys.generate()
BEARER = {"X-Api-Key": KEY.text}
NOON_S = datetime.fromisoformat("2026-11-29T12:00:00Z").timestamp()
SECOND_NS = 10**9
SLACK_S = 1e-6
"""What a float of four billion seconds cannot tell."""


def allowance(bound: Bound, *, limit: int = 100, remaining: int = 40, reset_s: float = 36.0) -> Allowance:
    reset_ns = int(reset_s * SECOND_NS)
    return Allowance(
        bound=bound, limit=limit, remaining=remaining, reset_ns=reset_ns, period_ns=60 * SECOND_NS
    )


def told(*allowances: Allowance, now_s: float = NOON_S) -> dict[str, str]:
    return {
        name.removeprefix("anthropic-ratelimit-"): value
        for name, value in headers_of(allowances, now_s=now_s)
    }


def opened(**bounds: Any) -> Door:
    ring = KeyRing({KEY.key_id: StoredKey(sha256=KEY.sha256)})
    return Door(FakeInference(), keys=ring, accounting=Books(**bounds).accounting)


def limits_of(answer: falcon.testing.Result) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("anthropic-ratelimit")}


def test_a_bound_of_requests_says_nothing_of_tokens() -> None:
    assert told(allowance(Bound.REQUESTS)) == {
        "requests-limit": "100",
        "requests-remaining": "40",
        "requests-reset": "2026-11-29T12:00:36Z",
    }


def test_prompt_and_answer_are_taken_from_one_bound_and_both_are_told_so() -> None:
    found = told(allowance(Bound.TOKENS, reset_s=0.001))
    assert {found[f"{what}-remaining"] for what in ("tokens", "input-tokens", "output-tokens")} == {"40"}
    assert {found[f"{what}-reset"] for what in ("tokens", "input-tokens", "output-tokens")} == {
        "2026-11-29T12:00:01Z"
    }
    assert not any(name.startswith("requests") for name in found)


@pytest.mark.parametrize(("of_day", "expected"), [(39, "1000"), (40, "1000"), (41, "100")])
def test_of_minute_and_day_the_tighter_one_is_told(of_day: int, expected: str) -> None:
    day = allowance(Bound.DAY, limit=1000, remaining=of_day, reset_s=3600.0)
    assert told(allowance(Bound.TOKENS), day)["tokens-limit"] == expected


def test_without_bounds_there_is_nothing_to_tell() -> None:
    assert told() == {}


@given(st.floats(0, 4e9), st.integers(0, 86_400 * SECOND_NS))
def test_a_reset_is_a_time_and_never_too_early(now_s: float, reset_ns: int) -> None:
    one = Allowance(bound=Bound.TOKENS, limit=1, remaining=0, reset_ns=reset_ns, period_ns=SECOND_NS)
    (at,) = {value for name, value in headers_of([one], now_s=now_s) if name.endswith("reset")}
    early_s = now_s + reset_ns / SECOND_NS - datetime.fromisoformat(at).timestamp()
    assert -1 - SLACK_S < early_s < SLACK_S


def test_the_door_tells_them_below_messages_alone() -> None:
    door = opened(requests_per_min=60, tokens_per_min=100, tokens_per_day=5000)
    for stream in (False, True):
        found = limits_of(post(door, BEARER, stream=stream))
        assert set(found) == set(HEADERS)
        assert found["anthropic-ratelimit-tokens-limit"] == "100"
    count = door.post(
        "/v1/messages/count_tokens", {k: HELLO[k] for k in ("model", "messages")}, {**VERSION, **BEARER}
    )
    assert count.status_code == 200
    assert limits_of(count)["anthropic-ratelimit-requests-remaining"] == "57"
    chat = door.chat(BEARER)
    assert "x-ratelimit-limit-tokens" in chat.headers
    assert limits_of(chat) == {}


def test_a_refusal_has_them_and_a_key_without_bounds_has_none() -> None:
    door = opened(requests_per_min=1)
    assert post(door, BEARER).status_code == 200
    refused = post(door, BEARER)
    assert refused.status_code == 429
    assert limits_of(refused)["anthropic-ratelimit-requests-remaining"] == "0"
    assert limits_of(post(opened(), BEARER)) == {}
