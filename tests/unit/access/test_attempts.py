"""Who guesses is slowed; who knows is not."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import attempts
from appliance.access.attempts import CLAIM, FORGET_S, FREE, KEY, MOST_SOURCES, MOST_WAIT_S, Attempts
from appliance.access.sources import source_of
from appliance.errors import TooManyAttempts
from tests.unit.access.stores import Clock


def heard(table: Attempts, address: str) -> bool:
    try:
        table.note(address)
    except TooManyAttempts:
        return False
    return True


@given(st.lists(st.floats(0.0, 70.0), min_size=1, max_size=200))
def test_never_more_than_ten_in_any_minute(pauses: list[float]) -> None:
    clock = Clock(now_s=0.0)
    table, let_in = Attempts(KEY, clock), []
    for pause_s in pauses:
        clock.now_s += pause_s
        if heard(table, "a"):
            let_in.append(clock.now_s)
    for at_s in let_in:
        assert sum(at_s <= other < at_s + 59.999 for other in let_in) <= 10


def test_of_a_thousand_in_a_minute_ten_at_most_are_heard() -> None:
    clock = Clock(now_s=0.0)
    table, answered = Attempts(KEY, clock), 0
    for _ in range(1000):
        answered += heard(table, "10.0.0.9")
        clock.now_s += 0.06
    assert FREE <= answered <= 10
    assert table.counts == (1000, 1000 - answered)


def test_the_wait_that_is_told_is_the_wait_and_grows_to_a_minute() -> None:
    clock = Clock(now_s=0.0)
    table, waits = Attempts(KEY, clock), []
    for _ in range(14):
        while not heard(table, "a"):
            with pytest.raises(TooManyAttempts) as refused:
                table.note("a")
            waits.append(refused.value.retry_after_s)
            clock.now_s += refused.value.retry_after_s
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert max(waits) == MOST_WAIT_S


def test_a_refusal_says_what_was_guessed_and_when_to_come_again() -> None:
    for secret in (KEY, CLAIM):
        table = Attempts(secret, Clock())
        assert [heard(table, "a") for _ in range(FREE + 1)] == [True] * FREE + [False]
        with pytest.raises(TooManyAttempts, match=rf"wrong {secret}s .* retry in 2 s"):
            table.note("a")


def test_others_are_not_slowed_and_a_source_is_forgotten() -> None:
    clock = Clock()
    table = Attempts(KEY, clock)
    for _ in range(20):
        heard(table, "10.0.0.9")
    assert not heard(table, "10.0.0.9")
    assert heard(table, "10.0.0.8")
    clock.now_s += FORGET_S
    assert all(heard(table, "10.0.0.9") for _ in range(FREE))


def test_a_success_is_forgiven() -> None:
    table = Attempts(CLAIM, Clock())
    for _ in range(20):
        table.note("a")
        table.forgive("a")
    assert table.sources == 0


def test_many_at_once_are_no_way_around() -> None:
    table, let_in = Attempts(CLAIM, Clock()), []
    threads = [threading.Thread(target=lambda: let_in.append(heard(table, "a"))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sum(let_in) == FREE


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=60))
def test_no_source_waits_longer_than_the_most(steps: list[tuple[int, float]]) -> None:
    clock = Clock(now_s=0.0)
    table, waits = Attempts(KEY, clock), []
    for source, passed_s in steps:
        clock.now_s += passed_s
        try:
            table.note(str(source))
        except TooManyAttempts as refused:
            waits.append(refused.retry_after_s)
    assert all(0 < wait_s <= MOST_WAIT_S for wait_s in waits)


def test_a_flood_of_sources_takes_bounded_memory() -> None:
    table = Attempts(KEY, Clock())
    for number in range(MOST_SOURCES + 100):
        table.note(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1")
    assert table.sources == MOST_SOURCES


def test_the_one_that_was_silent_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST_SOURCES", 8)
    table = Attempts(KEY, Clock())
    for _ in range(FREE):
        table.note("10.0.0.9")
    for number in range(7):
        table.note(f"10.0.1.{number}")
    assert not heard(table, "10.0.0.9")
    for number in range(8):
        table.note(f"10.0.2.{number}")
    assert heard(table, "10.0.0.9")


def test_one_address_in_two_spellings_is_one_source() -> None:
    table = Attempts(KEY, Clock())
    spelled = ["10.0.0.9", "::ffff:10.0.0.9", "::FFFF:0a00:0009"] * 2
    assert [heard(table, address) for address in spelled] == [True] * FREE + [False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1%eth0", True),
        ("::ffff:10.0.0.9", "10.0.0.9", True),
        ("::ffff:10.0.0.9", "::ffff:10.0.0.8", False),
        ("", "nonsense", False),
    ],
)
def test_whoever_has_an_ipv6_address_has_its_network(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


def test_the_name_of_a_source_is_bounded() -> None:
    assert source_of("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"
    assert source_of("no address" * 100) == ("no address" * 100)[:64]
