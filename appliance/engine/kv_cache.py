"""What the slots of the KV cache hold, which of it a new prompt can reuse, and where sequences go.

A slot is one KV stream of the context. A busy slot belongs to a running sequence; a free one keeps what its
last sequence left, as a cached prefix, until it is needed. Prefixes are matched by a radix tree per scope
(`radix.py`). Owned by the engine's thread.

Choosing a slot for a prompt whose longest cached prefix is `reuse` tokens in slot m (`choose_slot`, pure):

    1. m is free and the prompt continues most of what m holds: run in m, nothing is copied.
    2. otherwise an empty slot, next to the busy ones; when none is empty, the free one that was
       used longest ago.
    3. the prefix is copied from m when moving its cells costs less than computing them again.

A batch is computed in one pass per run of neighbouring slots (`llama/context.py`), so busy slots are kept
together: `plan_swap` (pure) names one exchange of a busy slot with a free one that closes a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import SlotStore
from appliance.engine.radix import RadixTree
from appliance.errors import EngineFault
from appliance.wire.sizes import COPY_BYTES

_SHARED = "\0shared"
"""Owner of the prefixes that their callers declared shareable; no API key hashes to it."""

MIN_REUSE = 16
"""Fewer shared tokens are not worth a copy, nor waiting for."""

_COPY_S_PER_CELL = 20e-6
"""Start value, replaced by what copies really took."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Who may reuse a prefix, and the adapters, which change what a cell holds."""

    owner: str
    adapters: tuple[tuple[str, float], ...] = ()
    sees_shared: bool = True

    @property
    def shared(self) -> Scope:
        return Scope(_SHARED, self.adapters)

    @property
    def is_lasting(self) -> bool:
        """Whether another request can ever have it."""
        return self.sees_shared


@dataclass(slots=True)
class Slot:
    """One KV stream."""

    index: int
    tokens: list[int] = field(default_factory=list)
    """What it holds, or will hold when its prompt is computed; the first `held` are there."""
    held: int = 0
    busy: bool = False
    prefilling: bool = False
    last_used: int = 0
    """The engine's step number."""
    scope: Scope = Scope("")
    n_shared: int = 0
    """Tokens entered in the shared tree."""
    uses: int = 0
    """Sequences that ran on what it holds, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    slot: int | None
    """The slot with the longest prefix that is computed."""
    ready: int
    coming: int
    """The longest prefix that a prefilling slot will have."""
    awaited: int | None
    """That slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    target: int
    copy_from: int | None
    reuse: int


class KvCache:
    def __init__(
        self, store: SlotStore, *, n_swa: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._store = store
        self._n_swa = n_swa
        self._clock = clock
        self._trees: dict[Scope, RadixTree] = {}
        self.slots = [Slot(index) for index in range(store.n_slots)]
        self.copy_s_per_cell = _COPY_S_PER_CELL
        self.on_displaced: Callable[[Slot, int, int], None] = lambda _slot, _keeps, _now: None
        """Called with a free slot, the tokens it keeps, and the step, before the rest is overwritten."""

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    @property
    def busy(self) -> list[int]:
        return [slot.index for slot in self.slots if slot.busy]

    @property
    def has_free(self) -> bool:
        return any(not slot.busy for slot in self.slots)

    @property
    def cells_used(self) -> int:
        return sum(slot.held for slot in self.slots)

    @property
    def prefixes(self) -> int:
        return sum(1 for slot in self.slots if slot.held and not slot.busy)

    def match(self, scope: Scope, tokens: Sequence[int]) -> Match:
        """The longest prefix of `tokens` (all but the last, which must be computed) that is there, or is
        being computed.
        """
        head = tokens[:-1]
        best, ready, awaited, coming = None, 0, None, 0
        for key in (scope, scope.shared) if scope.sees_shared else (scope,):
            tree = self._trees.get(key)
            if tree is None:
                continue
            length, sharers = tree.match(head)
            for index in sharers:
                slot = self.slots[index]
                there = min(length, slot.held)
                if there > ready or (there == ready and best is not None and there and not slot.busy):
                    best, ready = index, there
                if slot.prefilling and length > coming:
                    awaited, coming = index, length
        return Match(slot=best, ready=ready, coming=coming, awaited=awaited)

    # ── taking and giving back ───────────────────────────────────────────────────────────────────

    def take(
        self, scope: Scope, tokens: list[int], *, match: Match, shared: bool, now: int, per_token_s: float
    ) -> tuple[int, int] | None:
        """Make a slot ready for a prompt; returns (slot, tokens that need not be computed), or None when all
        are busy.
        """
        held = self.slots[match.slot].held if match.slot is not None else 0
        pays = held * self.copy_s_per_cell < 0.5 * match.ready * per_token_s
        choice = choose_slot(self.slots, match.slot, match.ready, copy_pays=pays)
        if choice is not None and choice.copy_from is not None and not self._may_copy(choice.copy_from):
            choice = choose_slot(self.slots, match.slot, match.ready, copy_pays=False)
        if choice is None:
            return None
        slot = self.slots[choice.target]
        self.on_displaced(slot, choice.reuse if choice.copy_from is None else 0, now)
        uses = slot.uses if choice.copy_from is None else self.slots[choice.copy_from].uses
        if choice.copy_from is not None:
            self._copy(choice.copy_from, choice.target)
        kept = self._cut(slot, choice.reuse)
        slot.uses = 1 + (uses if kept >= MIN_REUSE else 0)
        self._enter(slot, scope, tokens, shared=shared)
        slot.held, slot.busy, slot.prefilling, slot.last_used = kept, True, True, now
        return slot.index, kept

    def release(self, index: int, tokens: list[int], held: int, *, now: int) -> None:
        """The sequence in a slot ended; what was computed stays as a cached prefix."""
        slot = self.slots[index]
        slot.busy = slot.prefilling = False
        slot.last_used = now
        slot.held = held
        self._enter(slot, slot.scope, tokens[:held], shared=False, n_shared=min(slot.n_shared, held))

    def plant(
        self,
        scope: Scope,
        tokens: list[int],
        state: NDArray[np.uint8],
        *,
        n_shared: int,
        n_held: int,
        now: int,
    ) -> int:
        """Make a cached prefix of a state from outside, of `n_held` tokens, that begins with `tokens`.

        It takes an empty slot, or the one used longest ago; one must be free. Returns how many tokens
        are kept. Raises EngineFault when the state is not taken.
        """
        choice = choose_slot(self.slots, None, 0, copy_pays=False)
        assert choice is not None
        slot = self.slots[choice.target]
        self.on_displaced(slot, 0, now)
        try:
            self._store.write_slot(slot.index, state)
        except EngineFault:
            self.forget(slot.index)
            raise
        slot.held = n_held
        slot.held = self._cut(slot, len(tokens))
        slot.last_used, slot.uses = now, 1
        self._enter(slot, scope, tokens[: slot.held], shared=False, n_shared=min(n_shared, slot.held))
        return slot.held

    def forget(self, index: int) -> None:
        """Drop a slot's content: a fault left it undefined."""
        slot = self.slots[index]
        self._leave(slot)
        self._store.truncate(index, 0)
        slot.tokens, slot.held, slot.busy, slot.prefilling, slot.n_shared = [], 0, False, False, 0

    def swap(self, left: int, right: int) -> None:
        """Exchange two slots with everything they hold. The caller renumbers its sequences."""
        first, second = self.slots[left], self.slots[right]
        cells = first.held + second.held
        began = self._clock()
        one = self._store.read_slot(left) if first.held else None
        two = self._store.read_slot(right) if second.held else None
        for index, data in ((left, two), (right, one)):
            if data is None:
                self._store.truncate(index, 0)
            else:
                self._store.write_slot(index, data)
        self._learn_copy_rate(cells, self._clock() - began)
        self._leave(first)
        self._leave(second)
        first.index, second.index = right, left
        self.slots[left], self.slots[right] = second, first
        for slot in (first, second):
            self._enter(slot, slot.scope, slot.tokens, shared=False, n_shared=slot.n_shared)

    def swap_pays(self, left: int, right: int, *, per_pass_s: float) -> bool:
        """A gap costs a pass in every step; closing it pays when it is cheaper than a few dozen passes."""
        cells = self.slots[left].held + self.slots[right].held
        return cells * self.copy_s_per_cell < 32 * per_pass_s and self._may_copy(left, right)

    def check(self) -> None:
        """Invariants, for tests and idle moments: raises AssertionError."""
        for index, slot in enumerate(self.slots):
            assert slot.index == index, f"slot {index} thinks it is {slot.index}"
            assert 0 <= slot.held <= self._store.n_ctx_seq, f"slot {index} holds {slot.held}"
            assert slot.busy or slot.held == len(slot.tokens), (
                f"free slot {index}: {slot.held} of {len(slot.tokens)}"
            )

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _may_copy(self, *indices: int) -> bool:
        """Whether so many slots may be in memory a second time: a plan has room for `COPY_BYTES`."""
        return sum(self._store.slot_bytes(index) for index in indices) <= COPY_BYTES

    def _copy(self, source: int, target: int) -> None:
        slot = self.slots[target]
        self._leave(slot)
        began = self._clock()
        self._store.write_slot(target, self._store.read_slot(source))
        slot.held = self.slots[source].held
        self._learn_copy_rate(slot.held, self._clock() - began)

    def _cut(self, slot: Slot, n_tokens: int) -> int:
        """Cut a slot back to `n_tokens`; returns how many it really keeps: 0 when its memory cannot be cut
        there.
        """
        if slot.held == 0 and n_tokens == 0:
            return 0
        resumable = self._store.truncate(slot.index, n_tokens) if n_tokens < slot.held else True
        if resumable and n_tokens and self._n_swa:
            # A sliding window that moved on has lost what the tokens after the cut would attend to. Cut back
            # far enough it holds nothing at all: -1.
            resumable = 0 <= self._store.first_position(slot.index) <= max(0, n_tokens - self._n_swa)
        if resumable:
            return n_tokens
        self._store.truncate(slot.index, 0)
        return 0

    def _enter(self, slot: Slot, scope: Scope, tokens: list[int], *, shared: bool, n_shared: int = 0) -> None:
        self._leave(slot)
        slot.scope, slot.tokens = scope, tokens
        slot.n_shared = len(tokens) if shared else n_shared
        if tokens:
            self._trees.setdefault(scope, RadixTree()).insert(slot.index, tokens)
        if slot.n_shared:
            self._trees.setdefault(scope.shared, RadixTree()).insert(slot.index, tokens[: slot.n_shared])

    def _leave(self, slot: Slot) -> None:
        for key in (slot.scope, slot.scope.shared):
            tree = self._trees.get(key)
            if tree is not None:
                tree.remove(slot.index)
                if not len(tree):
                    del self._trees[key]

    def _learn_copy_rate(self, cells: int, seconds: float) -> None:
        if cells >= MIN_REUSE:
            self.copy_s_per_cell += 0.3 * (seconds / cells - self.copy_s_per_cell)


def choose_slot(slots: Sequence[Slot], matched: int | None, ready: int, *, copy_pays: bool) -> Choice | None:
    """Where a prompt goes. The numbers are the module docstring's."""
    free = [slot for slot in slots if not slot.busy]
    if not free:
        return None
    if matched is not None and ready and not slots[matched].busy:
        mine = slots[matched]
        if 2 * ready >= mine.held or len(free) == 1:
            return Choice(target=matched, copy_from=None, reuse=ready)  # 1
    busy = [slot.index for slot in slots if slot.busy]

    def cost(slot: Slot) -> tuple[bool, int, int, int]:
        distance = min((abs(slot.index - index) for index in busy), default=0)
        return (slot.held > 0, slot.last_used if slot.held else distance, distance, slot.index)

    target = min((slot for slot in free if slot.index != matched or len(free) == 1), key=cost)  # 2
    if matched is not None and ready >= MIN_REUSE and copy_pays and target.index != matched:
        return Choice(target=target.index, copy_from=matched, reuse=ready)  # 3
    return Choice(target=target.index, copy_from=None, reuse=0)


def runs(indices: Sequence[int]) -> int:
    """How many runs of neighbours a sorted list of slot numbers has."""
    return sum(
        1 for position, index in enumerate(indices) if position == 0 or indices[position - 1] != index - 1
    )


def count_passes(tokens_of: Mapping[int, int]) -> int:
    """Passes that llama.cpp makes over a batch, from the tokens of each slot: one computes as many tokens of
    each slot in a run as its shortest has, so longer ones need more.
    """
    left, passes = dict(sorted(tokens_of.items())), 0
    while left:
        first = next(iter(left))
        run = [first]
        while run[-1] + 1 in left:
            run.append(run[-1] + 1)
        least = min(left[slot] for slot in run)
        left = {slot: n - (least if slot in run else 0) for slot, n in left.items()}
        left = {slot: n for slot, n in left.items() if n}
        passes += 1
    return passes


def plan_swap(busy: Sequence[int], held: Sequence[int]) -> tuple[int, int] | None:
    """One exchange (busy slot, free slot) on the way to all busy slots being neighbours; None: they are."""
    if runs(busy) <= 1:
        return None
    width, members = len(busy), set(busy)

    def moved_cells(start: int) -> int:
        outside = sum(held[index] for index in busy if not start <= index < start + width)
        inside = sum(held[index] for index in range(start, start + width) if index not in members)
        return outside + inside

    start = min(range(len(held) - width + 1), key=moved_cells)
    outsider = min(
        (index for index in busy if not start <= index < start + width), key=lambda index: held[index]
    )
    hole = min(
        (index for index in range(start, start + width) if index not in members),
        key=lambda index: held[index],
    )
    return outsider, hole
