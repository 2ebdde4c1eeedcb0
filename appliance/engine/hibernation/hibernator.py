"""Who hibernates: decides what to save and what to read, on the engine's thread. `porter.py` does it.

    displaced   what another prompt is about to overwrite; copied out between two steps
    rest        nobody asks: one slot a call, ahead of need, so that a power cut or a kill finds it written
    finish      the model goes: the most valuable first, as far as the time goes
    find, fetch a prompt comes

What goes wrong costs the prompt's time and nothing else: it is counted, and the prompt is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from appliance.engine.backend import SlotStore
from appliance.engine.hibernation import worth
from appliance.engine.hibernation.index import Found, SnapshotIndex
from appliance.engine.hibernation.porter import Porter, Read, Ticket, Written
from appliance.engine.hibernation.shelf import Listing
from appliance.engine.hibernation.snapshot import Head, Sealer, pack_tokens
from appliance.engine.hibernation.streams import StateUnknown, to_one_stream
from appliance.engine.kv_cache import Scope, Slot
from appliance.engine.radix import common_prefix
from appliance.wire.messages import EngineStats, Hibernation

_READ_BYTES_PER_S: Final = 300e6
_WRITE_BYTES_PER_S: Final = 100e6
_COPY_BYTES_PER_S: Final = 1e9
"""Start values, replaced by what was measured."""
_MOST_COPY_S: Final = 0.25
"""A state that takes longer to copy out of the context would hold up the answers that run."""
_MOST_PENDING_BYTES: Final = 512 << 20
"""Of states in memory on their way to the disk, but for a first one."""
_MOST_TICKETS: Final = 2
"""Snapshots read at once, or read and not yet in a slot: each takes the memory of a slot."""
_MEMORY_SHARE: Final = 0.5
"""Of the memory that is available, one state may take."""
_IDLE_S: Final = 5.0
"""After so long without work, prefixes are saved one by one."""
_SETTLE_S: Final = 0.02


@dataclass(slots=True)
class Figures:
    """For `EngineStats`, which has the words."""

    restored_tokens: int = 0
    written: int = 0
    written_bytes: int = 0
    refused: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the hibernator stands on."""

    backend: SlotStore
    porter: Porter
    sealer: Sealer
    fingerprint: bytes
    n_streams: int = 0
    """As for `Porter`."""
    whole: bool = False
    """This memory cannot be cut back: only a prompt that goes on from the end of a snapshot has use of it."""
    available_bytes: Callable[[], int | None] = lambda: None
    clock: Callable[[], float] = time.perf_counter


class Hibernator:
    """Owned by the engine's thread."""

    def __init__(self, around: Surroundings, rules: Hibernation) -> None:
        self.figures = Figures()
        self.index = SnapshotIndex()
        self._around = around
        self._porter = around.porter
        self._rules = rules
        self._clock = around.clock
        self._budget = worth.WriteBudget(rules.write_bytes_per_min, now_s=around.clock())
        self._read_rate = worth.Rate(_READ_BYTES_PER_S)
        self._write_rate = worth.Rate(_WRITE_BYTES_PER_S)
        self._copy_rate = worth.Rate(_COPY_BYTES_PER_S)
        self._writing: list[Head] = []
        self._tickets: WeakValueDictionary[int, Ticket] = WeakValueDictionary()
        self._is_stuck = False
        self._idle_since_s = around.clock()
        self._porter.read_in()

    # ── coming back ──────────────────────────────────────────────────────────────────────────────

    def find(self, scope: Scope, tokens: Sequence[int]) -> Found | None:
        """The snapshot with the longest prefix of `tokens` that this scope may see."""
        if not scope.is_lasting or self._is_stuck:
            return None
        return self.index.find(
            self._scope(scope), self._scope(scope.shared), tokens, whole=self._around.whole
        )

    def restore_s(self, found: Found, *, copy_s_per_cell: float) -> float:
        """What it should take."""
        head = found.entry.head
        return self._read_rate.expect_s(head.file_bytes) + copy_s_per_cell * head.n_tokens

    def has_memory_for(self, found: Found) -> bool:
        return self._fits_memory(found.entry.head.state_bytes)

    def fetch(self, found: Found) -> Ticket | None:
        """Have it read; who else wants it, waits for the same. None: not now, others are on their way."""
        ticket = self._tickets.get(found.entry.number)
        if ticket is None and len(self._tickets) < _MOST_TICKETS:
            ticket = self._tickets[found.entry.number] = Ticket(found)
            self.index.use(found.entry)
            self._porter.read(ticket)
        return ticket

    def wait(self, timeout_s: float) -> None:
        """Until there are news for `step`."""
        self._porter.wait(timeout_s)

    def gave_up(self) -> None:
        """A sequence has waited too long. Until the disk answers again, nobody else is to wait for it."""
        self._is_stuck = bool(self._tickets)

    def restored(self, n_tokens: int) -> None:
        """So many tokens are in a slot again."""
        self.figures.restored_tokens += n_tokens

    def refuse(self, found: Found) -> None:
        """llama.cpp did not take it."""
        self.figures.refused += 1
        self._drop(found.entry.name)

    # ── going to sleep ───────────────────────────────────────────────────────────────────────────

    def displaced(self, slot: Slot, keeps: int, _now: int) -> None:
        """All that a free slot holds behind the first `keeps` tokens is about to be overwritten."""
        if slot.held - keeps < self._rules.min_tokens:
            return
        self._collect()
        if worth.may_save_displaced(self._held(slot, age=0), min_tokens=self._rules.min_tokens):
            self._save(slot)

    def rest(self, slots: Sequence[Slot]) -> None:
        """Nobody asks: the most valuable prefix that is worth it is saved, if there was no work for long."""
        self._collect()
        if self._writing or self._clock() - self._idle_since_s < _IDLE_S:
            return
        for slot, held in self._by_value(slots):
            if worth.may_save_displaced(held, min_tokens=self._rules.min_tokens) and self._save(slot):
                return

    def finish(self, slots: Sequence[Slot]) -> None:
        """Save the most valuable first, for as long as the daemon gives."""
        until_s = self._clock() + self._rules.stop_s
        self._porter.write_until(until_s)
        self._settle(until_s)
        for slot, held in self._by_value(slots):
            if not worth.may_save(held, min_tokens=self._rules.min_tokens):
                continue
            size = self._around.backend.slot_bytes(slot.index)
            if self._write_rate.expect_s(size) <= until_s - self._clock() and self._save(slot, at_rest=True):
                self._settle(until_s)

    def close(self) -> None:
        """End the threads; what is being written is given up."""
        self._porter.close()

    # ── news ─────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        """Before a step of the engine."""
        self._idle_since_s = self._clock()
        self._collect()

    def told_in(self, stats: EngineStats) -> EngineStats:
        self._collect()
        figures = self.figures
        return structs.replace(
            stats,
            restored_tokens=figures.restored_tokens,
            snapshots=len(self.index),
            snapshot_bytes=self.index.n_bytes,
            snapshots_written=figures.written,
            snapshot_written_bytes=figures.written_bytes,
            snapshots_refused=figures.refused,
            snapshots_failed=figures.failed,
        )

    def _collect(self) -> None:
        for news in self._porter.news():
            match news:
                case Listing():
                    self._take_listing(news)
                case Read():
                    self._take_read(news)
                case Written():
                    self._take_written(news)

    def _take_listing(self, listing: Listing) -> None:
        self.figures.refused += listing.refused
        for name, head in listing.heads:
            self.index.add(name, head)
        self._make_room(0)

    def _take_read(self, read: Read) -> None:
        self._is_stuck = False
        if read.is_refused or read.is_gone:
            self.figures.refused += read.is_refused
            self._drop(read.name)
        else:
            self._read_rate.observe(read.n_bytes, read.seconds)

    def _take_written(self, written: Written) -> None:
        self._writing.remove(written.head)
        if written.name is None:
            self.figures.failed += 1
            return
        self.figures.written += 1
        self.figures.written_bytes += written.head.file_bytes
        self._write_rate.observe(written.head.file_bytes, written.seconds)
        for entry in self.index.contained(written.head):
            self._drop(entry.name)
        self.index.add(written.name, written.head)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _scope(self, scope: Scope) -> bytes:
        return self._around.sealer.scope(scope.owner, scope.adapters)

    def _by_value(self, slots: Sequence[Slot]) -> list[tuple[Slot, worth.Held]]:
        young_first = sorted((slot for slot in slots if not slot.busy), key=lambda slot: -slot.last_used)
        held = [(slot, self._held(slot, age=age)) for age, slot in enumerate(young_first)]
        return sorted(held, key=lambda one: -worth.value(one[1]))

    def _held(self, slot: Slot, *, age: int) -> worth.Held:
        if not slot.scope.is_lasting or slot.held < self._rules.min_tokens:
            return worth.Held(n_tokens=0, covered=0, uses=0, age=age)
        tokens, scope = slot.tokens[: slot.held], self._scope(slot.scope)
        covered = max(self.index.covered(scope, tokens), self._being_written(scope, tokens))
        return worth.Held(n_tokens=slot.held, covered=covered, uses=slot.uses, age=age)

    def _being_written(self, scope: bytes, tokens: Sequence[int]) -> int:
        """How many of the first tokens."""
        heads = [head for head in self._writing if head.scope == scope]
        packed = pack_tokens(tokens) if heads else b""
        return max((common_prefix(head.tokens, packed) // 4 for head in heads), default=0)

    def _save(self, slot: Slot, *, at_rest: bool = False) -> bool:
        """Copy its state out and have it written. False: not now. `at_rest`: nobody is held up by it."""
        size = self._around.backend.slot_bytes(slot.index)
        if not self._may_take(size, at_rest=at_rest):
            return False
        try:
            state = self._read_slot(slot.index)
        except StateUnknown:
            self.figures.failed += 1
            return False
        head = Head(
            fingerprint=self._around.fingerprint,
            scope=self._scope(slot.scope),
            shared_scope=self._scope(slot.scope.shared),
            tokens=pack_tokens(slot.tokens[: slot.held]),
            n_shared=min(slot.n_shared, slot.held),
            state_bytes=state.size,
        )
        self._make_room(head.file_bytes)
        self._writing.append(head)
        self._porter.write(head, state)
        return True

    def _may_take(self, size: int, *, at_rest: bool) -> bool:
        is_bounded = size <= self._rules.limit_bytes and self._fits_memory(size)
        pending = sum(head.state_bytes for head in self._writing)
        has_turn = not self._writing or pending + size <= _MOST_PENDING_BYTES
        is_short = at_rest or self._copy_rate.expect_s(size) <= _MOST_COPY_S
        return is_bounded and has_turn and is_short and self._budget.take(size, now_s=self._clock())

    def _read_slot(self, index: int) -> NDArray[np.uint8]:
        began_s = self._clock()
        state = self._around.backend.read_slot(index)
        self._copy_rate.observe(state.size, self._clock() - began_s)
        n_streams = self._around.n_streams
        return to_one_stream(state, n_streams) if n_streams else state

    def _fits_memory(self, n_bytes: int) -> bool:
        available = self._around.available_bytes()
        return available is None or n_bytes <= _MEMORY_SHARE * available

    def _make_room(self, new_bytes: int) -> None:
        writing = sum(head.file_bytes for head in self._writing)
        for entry in self.index.surplus(writing + new_bytes, self._rules.limit_bytes):
            self._drop(entry.name)

    def _drop(self, name: str) -> None:
        self.index.remove(name)
        self._porter.remove(name)

    def _settle(self, until_s: float) -> None:
        """Wait for the writes under way."""
        self._collect()
        while self._writing and (left_s := until_s - self._clock()) > 0:
            self._porter.wait(min(left_s, _SETTLE_S))
            self._collect()
