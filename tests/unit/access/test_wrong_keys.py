"""Who guesses is slowed; who knows is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import wrong_keys
from appliance.access.sources import source_of
from appliance.access.wrong_keys import FORGET_S, MOST_SOURCES, MOST_WAIT_S, WrongKeys
from appliance.errors import TooManyWrongKeys


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def heard(guesses: WrongKeys, address: str) -> bool:
    try:
        guesses.note(address)
    except TooManyWrongKeys:
        return False
    return True


def test_of_a_thousand_wrong_keys_in_a_minute_ten_at_most_are_heard() -> None:
    clock = Clock()
    guesses, answered = WrongKeys(clock), 0
    for _ in range(1000):
        answered += heard(guesses, "10.0.0.9")
        clock.now_s += 0.06
    assert 5 <= answered <= 10
    assert guesses.counts == (1000, 1000 - answered)


def test_the_wait_that_is_told_is_the_wait_and_grows_to_a_minute() -> None:
    clock = Clock()
    guesses, waits = WrongKeys(clock), []
    for _ in range(14):
        while not heard(guesses, "a"):
            with pytest.raises(TooManyWrongKeys) as refused:
                guesses.note("a")
            waits.append(refused.value.retry_after_s)
            clock.now_s += refused.value.retry_after_s
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert max(waits) == MOST_WAIT_S


def test_others_are_not_slowed_and_a_source_is_forgotten() -> None:
    clock = Clock()
    guesses = WrongKeys(clock)
    for _ in range(20):
        heard(guesses, "10.0.0.9")
    assert not heard(guesses, "10.0.0.9")
    assert heard(guesses, "10.0.0.8")
    clock.now_s += FORGET_S
    assert all(heard(guesses, "10.0.0.9") for _ in range(wrong_keys.FREE))


def test_hosts_of_one_ipv6_network_are_one_source() -> None:
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2:ffff::1%eth0") == "2001:db8:1:2::/64"
    assert source_of("2001:db8:1:3::4") != source_of("2001:db8:1:2::4")
    assert source_of("::ffff:10.0.0.9") == "10.0.0.9"
    assert source_of("no address" * 100) == ("no address" * 100)[:64]


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=60))
def test_no_source_waits_longer_than_the_most(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    guesses = WrongKeys(clock)
    waits = []
    for source, passed_s in steps:
        clock.now_s += passed_s
        try:
            guesses.note(str(source))
        except TooManyWrongKeys as refused:
            waits.append(refused.retry_after_s)
    assert all(0 < wait_s <= MOST_WAIT_S for wait_s in waits)


def test_the_table_is_bounded() -> None:
    guesses = WrongKeys(Clock())
    for number in range(MOST_SOURCES + 100):
        guesses.note(f"source-{number}")
    assert guesses.sources == MOST_SOURCES
