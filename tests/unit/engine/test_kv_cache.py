"""Slots over the fake backend, whose slots are lists of tokens: what the cache believes is what is there."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.engine.backend import Span
from appliance.engine.kv_cache import KvCache, Match, Scope
from tests.fakes.fake_backend import FakeBackend, FakeClock

ALICE, BOB = Scope("alice"), Scope("bob")
SYSTEM = list(range(1, 31))


class Desk:
    """A cache over a fake backend, and what sequences do to it."""

    def __init__(self, *, n_slots: int = 4, clock: FakeClock | None = None, n_swa: int = 0) -> None:
        self.backend = FakeBackend(n_slots=n_slots)
        self.cache = KvCache(self.backend, n_swa=n_swa, clock=clock or FakeClock())
        self.now = 0

    def start(self, tokens: list[int], *, scope: Scope = ALICE, shared: bool = False) -> tuple[int, int]:
        """A sequence begins and is not computed yet; its slot and what it reuses."""
        self.now += 1
        match = self.cache.match(scope, tokens)
        taken = self.cache.take(scope, tokens, match=match, shared=shared, now=self.now, per_token_s=0.01)
        assert taken is not None
        return taken

    def compute(self, index: int, tokens: list[int]) -> None:
        """The rest of a prompt, and whatever was generated."""
        held = self.cache.slots[index].held
        self.backend.decode([Span(index, held, tokens[held:], 1)])
        self.cache.slots[index].held = len(tokens)
        self.cache.slots[index].prefilling = False

    def run(self, tokens: list[int], *, scope: Scope = ALICE, shared: bool = False) -> tuple[int, int]:
        """From start to end."""
        index, reused = self.start(tokens, scope=scope, shared=shared)
        self.compute(index, tokens)
        self.cache.release(index, tokens, len(tokens), now=self.now)
        return index, reused


# ── prefixes and scopes ─────────────────────────────────────────────────────────────────────────────────────


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    desk = Desk()
    desk.run(SYSTEM)
    assert desk.run(SYSTEM)[1] == len(SYSTEM) - 1


def test_the_longest_prefix_wins() -> None:
    desk = Desk()
    desk.run([*SYSTEM[:20], 90, 91])
    desk.run([*SYSTEM, 92])
    assert desk.cache.match(ALICE, [*SYSTEM, 50]).ready == len(SYSTEM)


def test_a_prefix_belongs_to_its_scope() -> None:
    desk = Desk()
    desk.run(SYSTEM)
    assert desk.cache.match(BOB, SYSTEM).ready == 0


def test_a_shared_prefix_belongs_to_all() -> None:
    desk = Desk()
    desk.run(SYSTEM, shared=True)
    assert desk.cache.match(BOB, [*SYSTEM, 50]).ready == len(SYSTEM)


def test_a_shared_prefix_of_other_adapters_is_not_seen() -> None:
    desk = Desk()
    desk.run(SYSTEM, scope=Scope("alice", (("tuned", 1.0),)), shared=True)
    assert desk.cache.match(BOB, [*SYSTEM, 50]).ready == 0
    assert desk.cache.match(Scope("bob", (("tuned", 0.5),)), [*SYSTEM, 50]).ready == 0
    assert desk.cache.match(Scope("bob", (("tuned", 1.0),)), [*SYSTEM, 50]).ready == len(SYSTEM)


def test_a_scope_that_sees_nothing_shared_matches_nothing() -> None:
    desk = Desk()
    desk.run(SYSTEM, shared=True)
    assert desk.cache.match(Scope("alone", sees_shared=False), [*SYSTEM, 50]).ready == 0


def test_what_follows_a_shared_prompt_is_not_shared() -> None:
    desk = Desk()
    index, _ = desk.start(SYSTEM, shared=True)
    answer = [*SYSTEM, 70, 71, 72]
    desk.compute(index, answer)
    desk.cache.release(index, answer, len(answer), now=9)
    assert desk.cache.match(BOB, [*answer, 50]).ready == len(SYSTEM)
    assert desk.cache.match(ALICE, [*answer, 50]).ready == len(answer)


def test_a_prefix_that_is_being_computed_is_announced() -> None:
    desk = Desk()
    index, _ = desk.start(SYSTEM)
    assert desk.cache.match(ALICE, [*SYSTEM, 50]) == Match(
        slot=None, ready=0, coming=len(SYSTEM), awaited=index
    )


def test_a_computed_prefix_is_copied_from_a_running_sequence() -> None:
    desk = Desk()
    first, _ = desk.start(SYSTEM)
    desk.compute(first, SYSTEM)
    second, reused = desk.start([*SYSTEM, 50])
    assert second != first
    assert reused == len(SYSTEM)
    assert desk.backend.slots[second] == SYSTEM


def test_take_says_none_when_all_are_busy() -> None:
    desk = Desk(n_slots=1)
    desk.start(SYSTEM)
    match = desk.cache.match(BOB, SYSTEM)
    assert desk.cache.take(BOB, SYSTEM, match=match, shared=False, now=5, per_token_s=0.01) is None
    assert not desk.cache.has_free


def test_a_forgotten_slot_matches_nothing_and_is_empty() -> None:
    desk = Desk()
    index, _ = desk.start(SYSTEM, shared=True)
    desk.compute(index, SYSTEM)
    desk.cache.forget(index)
    assert desk.cache.match(ALICE, SYSTEM).ready == desk.cache.match(BOB, SYSTEM).ready == 0
    assert desk.backend.slots[index] == []
    assert desk.cache.cells_used == 0


def test_a_cancelled_prefill_leaves_what_was_computed() -> None:
    desk = Desk()
    index, _ = desk.start(SYSTEM)
    desk.backend.decode([Span(index, 0, SYSTEM[:20], 0)])
    desk.cache.slots[index].held = 20
    desk.cache.release(index, SYSTEM, 20, now=2)
    assert desk.cache.match(ALICE, SYSTEM).ready == 20
    desk.cache.check()


def test_cells_and_prefixes_are_counted() -> None:
    desk = Desk()
    desk.run(SYSTEM)
    desk.start([60, 61], scope=BOB)
    assert desk.cache.cells_used == len(SYSTEM)
    assert desk.cache.prefixes == 1
    assert desk.cache.busy == [1]


def test_a_window_that_moved_on_is_computed_again() -> None:
    desk = Desk(n_swa=8)
    index, _ = desk.run(SYSTEM)
    desk.backend.first_position = lambda slot: 20 if desk.backend.slots[slot] else -1  # type: ignore[method-assign]
    assert desk.run([*SYSTEM[:25], 50])[1] == 0
    assert desk.backend.slots[index] == [*SYSTEM[:25], 50]


# ── swaps and the copy rate ─────────────────────────────────────────────────────────────────────────────────


def test_a_swap_moves_contents_and_prefixes() -> None:
    desk = Desk()
    desk.run(SYSTEM)
    busy, _ = desk.start([60, 61], scope=BOB)
    desk.compute(busy, [60, 61])
    desk.cache.swap(0, busy)
    assert desk.backend.slots[0] == [60, 61]
    assert desk.backend.slots[busy] == SYSTEM
    assert desk.cache.busy == [0]
    assert desk.cache.match(ALICE, [*SYSTEM, 9]).slot == busy
    desk.cache.check()


def test_a_swap_with_an_empty_slot_empties_the_other() -> None:
    desk = Desk()
    desk.run(SYSTEM)
    desk.cache.swap(0, 3)
    assert desk.backend.slots == [[], [], [], SYSTEM]
    desk.cache.check()


class SlowBackend(FakeBackend):
    """Writing takes a millisecond a cell."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def write_slot(self, slot: int, data: object) -> None:
        super().write_slot(slot, data)  # type: ignore[arg-type]
        self.clock.now_s += 0.001 * len(self.slots[slot])


def test_the_price_of_a_copy_is_learned_from_copies() -> None:
    clock = FakeClock()
    backend = SlowBackend(clock)
    cache = KvCache(backend, clock=clock)
    backend.slots[0] = list(SYSTEM)
    cache.slots[0].held = len(SYSTEM)
    cache.slots[0].tokens = list(SYSTEM)
    for _ in range(30):
        cache.swap(0, 1)
        cache.swap(0, 1)
    assert cache.copy_s_per_cell == pytest.approx(0.001, rel=0.01)


def test_closing_a_gap_pays_only_when_moving_is_cheaper_than_the_passes_it_saves() -> None:
    desk = Desk()
    desk.cache.slots[0].held = 1000
    desk.cache.copy_s_per_cell = 1e-4
    assert desk.cache.swap_pays(0, 1, per_pass_s=0.01)
    assert not desk.cache.swap_pays(0, 1, per_pass_s=0.001)


class LargeBackend(FakeBackend):
    """A cell takes a MiB."""

    def slot_bytes(self, slot: int) -> int:
        return len(self.slots[slot]) << 20


@pytest.mark.parametrize(("cells", "is_copied"), [(256, True), (257, False)])
def test_no_more_of_a_slot_is_copied_than_a_plan_has_room_for(cells: int, is_copied: bool) -> None:
    backend = LargeBackend()
    cache = KvCache(backend)
    prompt = list(range(cells))
    backend.slots[0], cache.slots[0].held = list(prompt), cells
    cache.slots[0].busy = True
    match = Match(slot=0, ready=cells, coming=0, awaited=None)
    taken = cache.take(ALICE, [*prompt, 1], match=match, shared=False, now=1, per_token_s=1.0)
    assert taken == (1, cells if is_copied else 0)


def test_slots_too_large_to_be_in_memory_together_are_not_exchanged() -> None:
    backend = LargeBackend()
    cache = KvCache(backend)
    backend.slots[0], backend.slots[1] = [1] * 150, [2] * 106
    assert cache.swap_pays(0, 1, per_pass_s=1.0)
    backend.slots[1].append(2)
    assert not cache.swap_pays(0, 1, per_pass_s=1.0)


# ── any history ─────────────────────────────────────────────────────────────────────────────────────────────

PROMPTS = st.builds(
    lambda stem, tail: SYSTEM[:stem] + tail,
    st.integers(0, 30),
    st.lists(st.integers(40, 42), min_size=1, max_size=4),
)


class CacheMachine(RuleBasedStateMachine):
    """Whatever starts, ends, moves and fails: believed prefixes are there."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(n_slots=3)
        self.running: dict[int, list[int]] = {}

    @precondition(lambda self: len(self.running) < 3)
    @rule(prompt=PROMPTS, scope=st.sampled_from([ALICE, BOB]), shared=st.booleans(), part=st.booleans())
    def start(self, prompt: list[int], scope: Scope, shared: bool, part: bool) -> None:
        index, reused = self.desk.start(prompt, scope=scope, shared=shared)
        assert self.desk.backend.slots[index] == prompt[:reused], "reused what is not there"
        self.running[index] = prompt
        if not part:
            self.desk.compute(index, prompt)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.running)))
        held = self.desk.cache.slots[index].held
        self.desk.cache.release(index, self.running.pop(index), held, now=self.desk.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[index]
        self.desk.cache.forget(index)

    @rule(left=st.integers(0, 2), right=st.integers(0, 2))
    def swap(self, left: int, right: int) -> None:
        if left != right:
            self.desk.cache.swap(left, right)
            moved = {left: right, right: left}
            self.running = {moved.get(index, index): prompt for index, prompt in self.running.items()}

    @invariant()
    def every_slot_holds_what_the_cache_believes(self) -> None:
        cache, backend = self.desk.cache, self.desk.backend
        cache.check()
        assert cache.busy == sorted(self.running)
        for one in cache.slots:
            assert backend.slots[one.index][: one.held] == one.tokens[: one.held]
            assert len(backend.slots[one.index]) == one.held


TestEveryHistoryKeepsBeliefAndContentEqual = CacheMachine.TestCase
