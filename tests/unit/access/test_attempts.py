from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import attempts
from appliance.access.attempts import Attempts
from appliance.access.sources import source_of
from appliance.errors import TooManyAttempts
from tests.unit.access.stores import START_S, Clock


def tried(guard: Attempts, source: str) -> bool:
    try:
        guard.begin(source)
    except TooManyAttempts:
        return False
    return True


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=200))
def test_never_more_than_ten_in_any_minute(pauses: list[float]) -> None:
    clock = Clock(now_s=0.0)
    guard, let_in = Attempts(now=clock), []
    for pause_s in pauses:
        clock.now_s += pause_s
        if tried(guard, "a"):
            let_in.append(clock.now_s)
    for at_s in let_in:
        assert sum(at_s <= other < at_s + 59.999 for other in let_in) <= 10


def test_the_time_to_wait_that_is_told_is_enough() -> None:
    clock = Clock(now_s=0.0)
    guard = Attempts(now=clock)
    assert [tried(guard, "a") for _ in range(6)] == [True] * 5 + [False]
    with pytest.raises(TooManyAttempts) as told:
        guard.begin("a")
    clock.now_s += told.value.retry_after_s
    assert tried(guard, "a")


def test_a_success_is_forgiven() -> None:
    guard = Attempts(now=Clock())
    for _ in range(20):
        guard.begin("a")
        guard.succeeded("a")


def test_many_at_once_are_no_way_around() -> None:
    guard, let_in = Attempts(now=Clock()), []
    threads = [threading.Thread(target=lambda: let_in.append(tried(guard, "a"))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sum(let_in) == 5


def test_a_flood_of_sources_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_MOST_SOURCES", 8)
    guard = Attempts(now=Clock(now_s=START_S))
    for number in range(100):
        guard.begin(f"10.0.0.{number}")
    assert len(guard._due_s) == 8


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "nonsense", False),
    ],
)
def test_whoever_has_an_ipv6_address_has_its_network(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same
