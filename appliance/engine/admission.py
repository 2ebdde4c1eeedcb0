"""Which sequences wait and which run: slots for those that wait, neighbouring slots for those that run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

from appliance.engine.hibernation.waking import Waking
from appliance.engine.kv_cache import MIN_REUSE, KvCache, Match, Scope, plan_swap
from appliance.engine.sequence import Sequence, Status


class Admission:
    """The waiting and the running sequences. Owned by the engine's thread."""

    def __init__(self, cache: KvCache, *, n_slots: int, reuses: bool, waking: Waking | None = None) -> None:
        """`waking`: asked for what is on disk; None: nothing is."""
        self._cache = cache
        self._waking = waking
        self._n_slots = n_slots
        self._reuses = reuses
        self._arrivals = 0
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        self._arrivals += 1
        sequence.arrived = self._arrivals
        self.waiting.append(sequence)

    def match(self, sequence: Sequence) -> Match:
        """What it could reuse now."""
        return self._cache.match(self._scope(sequence), sequence.request.prompt_tokens)

    def admit(
        self, *, most: int | None, now: int, per_token_s: float, bound_s: float = math.inf
    ) -> Iterator[Sequence]:
        """Give slots to waiting sequences, in order of arrival; yields those that start.

        One that waits for a prefix which another is just computing lets later ones pass. What is copied of
        prefixes takes no longer than `bound_s`, but for the last one: the rest has the next step.
        """
        still: deque[Sequence] = deque()
        limit = self._n_slots if most is None else most
        copied_s = 0.0
        while self.waiting and len(self.running) < limit and self._cache.has_free and copied_s < bound_s:
            sequence = self.waiting.popleft()
            if self._start(sequence, now=now, per_token_s=per_token_s):
                copied_s += sequence.n_cached * self._cache.copy_s_per_cell
                yield sequence
            else:
                still.append(sequence)
        still.extend(self.waiting)
        self.waiting = still

    def close_gap(self, *, per_pass_s: float) -> None:
        """One exchange on the way to running sequences in neighbouring slots, if there is one that pays."""
        if len(self.running) < 2:
            return
        cache = self._cache
        exchange = plan_swap(cache.busy, [slot.held for slot in cache.slots])
        if exchange is None or not cache.swap_pays(*exchange, per_pass_s=per_pass_s):
            return
        busy, free = exchange
        cache.swap(busy, free)
        for sequence in self.running:
            if sequence.slot == busy:
                sequence.slot = free

    def drop_finished(self) -> None:
        if any(sequence.status is Status.FINISHED for sequence in self.running):
            self.running = [sequence for sequence in self.running if sequence.status is not Status.FINISHED]
        if any(sequence.status is Status.FINISHED for sequence in self.waiting):
            self.waiting = deque(
                sequence for sequence in self.waiting if sequence.status is not Status.FINISHED
            )

    def _scope(self, sequence: Sequence) -> Scope:
        request = sequence.request
        if self._reuses and request.generate.cache_prompt:
            return request.scope
        return Scope(f"\0alone {request.id}", request.adapters, sees_shared=False)

    def _start(self, sequence: Sequence, *, now: int, per_token_s: float) -> bool:
        request, cache = sequence.request, self._cache
        awaited = sequence.awaits
        if awaited is not None and awaited.prefilling and awaited.last_used == sequence.awaits_since:
            return False
        scope, match = self._scope(sequence), self.match(sequence)
        if match.awaited is not None and match.coming - match.ready >= MIN_REUSE:
            sequence.awaits = cache.slots[match.awaited]
            sequence.awaits_since = sequence.awaits.last_used
            return False
        if self._waking is not None and not sequence.is_awake:
            if not self._waking.is_ready(sequence, scope, match, per_token_s=per_token_s, now=now):
                return False
            match = self.match(sequence)
        taken = cache.take(
            scope,
            request.prompt_tokens,
            match=match,
            shared=scope.sees_shared and request.generate.shared_prefix,
            now=now,
            per_token_s=per_token_s,
        )
        if taken is None:
            return False
        sequence.slot, sequence.n_cached = taken
        sequence.n_computed = sequence.n_cached
        sequence.status = Status.RUNNING
        sequence.awaits = None
        self.running.append(sequence)
        return True
