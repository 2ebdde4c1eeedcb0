"""What is kept stays within its bounds, and each owner has his own."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.openai.responses.kept import KeptResponses, ResponseLimits
from appliance.errors import ResponseNotFound
from tests.unit.api.door import Door
from tests.unit.api.openai.responses.asked import respond


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def put(kept: KeptResponses, owner: str, id_: str, *, size_bytes: int = 100) -> bool:
    told: dict[str, Any] = {"id": id_, "output": [], "padding": "x" * size_bytes}
    return kept.put(owner, told, inputs=[{"type": "message"}])


def has(kept: KeptResponses, owner: str, id_: str) -> bool:
    try:
        return kept.get(owner, id_).id_ == id_
    except ResponseNotFound:
        return False


def test_a_thousand_responses_stay_under_the_bound() -> None:
    kept = KeptResponses(ResponseLimits(max_count=10_000, max_bytes=1024 * 1024))
    for number in range(1000):
        assert put(kept, "a", f"resp_{number}", size_bytes=10_000)
        assert kept.size_bytes <= 1024 * 1024
    assert 50 < len(kept) < 105
    assert has(kept, "a", "resp_999")
    assert not has(kept, "a", "resp_0")


def test_the_oldest_go_when_there_are_too_many() -> None:
    kept = KeptResponses(ResponseLimits(max_count=3))
    for number in range(5):
        put(kept, "a", str(number))
    assert [number for number in range(5) if has(kept, "a", str(number))] == [2, 3, 4]


@pytest.mark.parametrize("limits", [ResponseLimits(max_count=10), ResponseLimits(max_bytes=15_000)])
def test_who_keeps_much_displaces_his_own(limits: ResponseLimits) -> None:
    kept = KeptResponses(limits)
    put(kept, "modest", "mine")
    for number in range(100):
        put(kept, "greedy", str(number))
    assert has(kept, "modest", "mine")
    assert len(kept) <= 13


def test_one_that_passes_the_bound_alone_is_not_kept_and_displaces_nobody_else() -> None:
    kept = KeptResponses(ResponseLimits(max_bytes=10_000))
    assert put(kept, "modest", "mine")
    assert not put(kept, "greedy", "huge", size_bytes=20_000)
    assert has(kept, "modest", "mine")
    assert len(kept) == 1


def test_what_is_too_old_is_gone() -> None:
    clock = Clock()
    kept = KeptResponses(ResponseLimits(max_age_s=10), clock)
    put(kept, "a", "old")
    clock.now_s = 10
    put(kept, "a", "new")
    assert has(kept, "a", "old")
    clock.now_s = 10.5
    assert not has(kept, "a", "old")
    assert has(kept, "a", "new")
    assert len(kept) == 1


def test_another_owner_neither_reads_nor_deletes() -> None:
    kept = KeptResponses()
    put(kept, "a", "x")
    for forbidden in (kept.get, kept.delete):
        with pytest.raises(ResponseNotFound):
            forbidden("b", "x")
    kept.delete("a", "x")
    assert (len(kept), kept.size_bytes) == (0, 0)


def test_what_it_says_it_holds_is_what_it_holds() -> None:
    door = Door()
    told = respond(door, input="hi " * 50).json
    kept = KeptResponses()
    kept.put("a", told, inputs=[{"type": "message", "content": "x"}])
    tracemalloc.start()
    try:
        before_bytes = tracemalloc.get_traced_memory()[0]
        begun_bytes = kept.size_bytes
        for number in range(500):
            kept.put(
                "a", {**told, "id": f"resp_{number:048}"}, inputs=[{"type": "message", "content": "x"}] * 5
            )
        held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    finally:
        tracemalloc.stop()
    assert held_bytes <= kept.size_bytes - begun_bytes <= 1.5 * held_bytes


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "wait"]),
        st.sampled_from("abc"),
        st.integers(0, 9),
        st.integers(0, 5000),
    ),
    max_size=60,
)


@given(ACTS)
def test_the_bounds_hold_after_every_act_and_nothing_is_counted_twice(
    acts: list[tuple[str, str, int, int]],
) -> None:
    clock = Clock()
    limits = ResponseLimits(max_count=5, max_bytes=12_000, max_age_s=3)
    kept = KeptResponses(limits, clock)
    owners: dict[str, str] = {}
    for position, (act, owner, number, size_bytes) in enumerate(acts):
        if act == "put":
            owners[str(position)] = owner
            put(kept, owner, str(position), size_bytes=size_bytes)
        elif act == "wait":
            clock.now_s += 1
        elif has(kept, owner, str(number)):
            kept.delete(owner, str(number))
        alive = [kept.get(owner, id_) for id_, owner in owners.items() if has(kept, owner, id_)]
        assert len(alive) == len(kept) <= 5
        assert sum(one.size_bytes for one in alive) == kept.size_bytes <= 12_000
