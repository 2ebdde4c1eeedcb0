"""The part of admission that wakes a prefix: a sequence waits for its snapshot, and starts from it.

1. No snapshot has enough more of the prompt than the slots have, or computing is as cheap: it starts.
2. Its snapshot is being read: it waits, and others go on. Not past the time that computing would take.
3. It is here: a free slot takes it, as a cached prefix of the sequence's scope; admission finds it there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.engine.hibernation.hibernator import Hibernator
from appliance.engine.hibernation.index import Found
from appliance.engine.hibernation.porter import Ticket
from appliance.engine.hibernation.worth import pays_to_restore
from appliance.engine.kv_cache import KvCache, Match, Scope
from appliance.engine.sequence import Sequence
from appliance.errors import EngineFault

_MOST_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """What an engine that hibernates has."""

    hibernator: Hibernator
    min_tokens: int
    clock: Callable[[], float] = time.perf_counter

    def attach(self, cache: KvCache) -> Waking:
        """From now on what `cache` would lose is saved, and it gets back what was."""
        cache.on_displaced = self.hibernator.displaced
        return Waking(cache, self.hibernator, min_tokens=self.min_tokens, clock=self.clock)


class Waking:
    """Owned by the engine's thread."""

    def __init__(
        self,
        cache: KvCache,
        hibernator: Hibernator,
        *,
        min_tokens: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._cache = cache
        self._hibernator = hibernator
        self._min_tokens = min_tokens
        self._clock = clock

    def is_ready(
        self, sequence: Sequence, scope: Scope, match: Match, *, per_token_s: float, now: int
    ) -> bool:
        """Whether it may start now: from what is in the slots, which this call may have changed."""
        if sequence.is_awake:
            return True
        ticket = sequence.ticket
        if ticket is not None and ticket.is_done:
            self._plant(ticket, sequence, scope, match, now=now)  # 3
            return self._wake(sequence)
        if self._is_too_late(sequence):
            self._hibernator.gave_up()
            return self._wake(sequence)
        if ticket is None:
            found = self._hibernator.find(scope, sequence.request.prompt_tokens[:-1])
            if found is None or not self._pays(found, match, per_token_s=per_token_s):
                return self._wake(sequence)  # 1
            if sequence.wake_by_s is None:
                compute_s = (found.length - match.ready) * per_token_s
                sequence.wake_by_s = self._clock() + min(_MOST_WAIT_S, compute_s)
            sequence.ticket = self._hibernator.fetch(found)
        return False  # 2

    def _is_too_late(self, sequence: Sequence) -> bool:
        return sequence.wake_by_s is not None and self._clock() >= sequence.wake_by_s

    def _wake(self, sequence: Sequence) -> bool:
        sequence.ticket, sequence.is_awake = None, True
        return True

    def _pays(self, found: Found, match: Match, *, per_token_s: float) -> bool:
        gained = found.length - match.ready
        restore_s = self._hibernator.restore_s(found, copy_s_per_cell=self._cache.copy_s_per_cell)
        return (
            gained >= self._min_tokens
            and pays_to_restore(restore_s=restore_s, compute_s=gained * per_token_s)
            and self._hibernator.has_memory_for(found)
        )

    def _plant(self, ticket: Ticket, sequence: Sequence, scope: Scope, match: Match, *, now: int) -> None:
        """Of several that waited for it only the first: the others find it in its slot."""
        state, ticket.state = ticket.state, None
        found = self._hibernator.find(scope, sequence.request.prompt_tokens[:-1])
        same = found is not None and found.entry.number == ticket.found.entry.number
        if state is None or found is None or not same or match.ready >= found.length:
            return
        head = found.entry.head
        tokens = sequence.request.prompt_tokens[: found.length]
        try:
            kept = self._cache.plant(
                scope, tokens, state, n_shared=min(head.n_shared, len(tokens)), n_held=head.n_tokens, now=now
            )
        except EngineFault:
            self._hibernator.refuse(found)
        else:
            self._hibernator.restored(kept)
