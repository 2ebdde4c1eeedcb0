"""A small model that guesses what the large one will say: greedy tokens, several sequences at a time.

It has a context and slots of its own, and its own `KvCache` over them, so that prompts it has seen are reused
here, too. A sequence keeps its slot here while it runs, wherever the large model's slots move it. What a slot
holds is compared with the sequence's tokens before every draft: rejected guesses are cut off, and what is
missing is computed, a bounded part at a time, so that a long prompt is caught up over several steps and
delays none of them much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from appliance.engine.backend import Backend, Span
from appliance.engine.cost import StepCost
from appliance.engine.kv_cache import KvCache
from appliance.engine.meter import Meter
from appliance.engine.speculation import Wanted

_CATCH_UP_S = 0.05
"""Of one step, for reading prompts that the draft model has not seen."""
_WARM_UP = (1, 1, 8, 1, 32, 1, 1)


@dataclass(slots=True)
class _Reader:
    """The draft model's side of one sequence."""

    slot: int
    tokens: list[int]
    """What its slot holds: the sequence's tokens up to `agreed`, then guesses."""
    agreed: int
    """So many of them are the sequence's own; a sequence only grows."""


class DraftModel:
    """A `speculation.Proposer`. Owned by the engine's thread."""

    def __init__(
        self,
        backend: Backend,
        *,
        is_end: Callable[[int], bool],
        meter: Meter,
        n_swa: int = 0,
    ) -> None:
        self.cost = StepCost()
        self._backend = backend
        self._cache = KvCache(backend, n_swa=n_swa)
        self._is_end = is_end
        self._meter = meter
        self._readers: dict[int, _Reader] = {}
        self._drafts = 0

    def guess_s(self, n_sequences: int) -> float:
        return self.cost.predict_s(passes=1, tokens=n_sequences)

    def set_threads(self, n_threads: int) -> None:
        self._backend.set_threads(n_threads)

    def warm_up(self, token: int) -> None:
        """Page the weights in and learn what a guess costs: without a price, none would ever pay."""
        for wanted in _WARM_UP:
            count = min(wanted, self._backend.n_ctx_seq - 1)
            began = self._meter.begin()
            self._backend.decode([Span(0, 0, [token] * count, 1)])
            seconds = self._meter.end(began, is_step=False)
            self.cost.observe(passes=1, tokens=count, seconds=seconds)
            self._backend.truncate(0, 0)

    def propose(self, wanted: Sequence[Wanted], running: AbstractSet[int]) -> dict[int, list[int]]:
        """Raises EngineFault when the draft model itself fails."""
        self._drafts += 1
        self._let_go(running)
        readers = {one.key: reader for one in wanted if (reader := self._reader(one)) is not None}
        ready = self._catch_up([one for one in wanted if one.key in readers], readers)
        drafts: dict[int, list[int]] = {one.key: [] for one in ready}
        feeds = {one.key: one.tokens[readers[one.key].agreed :] for one in ready}
        longest = {one.key: min(one.longest, self._room(one)) for one in ready}
        while feeds := {key: feed for key, feed in feeds.items() if len(drafts[key]) < longest[key]}:
            guesses = self._guess({readers[key].slot: (readers[key], feed) for key, feed in feeds.items()})
            for key in feeds:
                drafts[key].append(guesses[readers[key].slot])
            feeds = {key: drafts[key][-1:] for key in feeds if not self._is_end(drafts[key][-1])}
        for one in ready:
            readers[one.key].agreed = min(len(one.tokens), len(readers[one.key].tokens))
        return {key: draft for key, draft in drafts.items() if draft}

    # ── slots ────────────────────────────────────────────────────────────────────────────────────

    def _let_go(self, running: AbstractSet[int]) -> None:
        """Sequences that ended leave their prefix for others."""
        for key in [key for key in self._readers if key not in running]:
            reader = self._readers.pop(key)
            self._cache.release(reader.slot, reader.tokens, len(reader.tokens), now=self._drafts)

    def _reader(self, one: Wanted) -> _Reader | None:
        """With its wrong guesses cut off; None when the sequence is too long for this model."""
        if self._room(one) < 1:
            return None
        reader = self._readers.get(one.key)
        if reader is None:
            return self._begin(one)
        agreed, held = reader.agreed, len(reader.tokens)
        # The last token must be computed, or there are no logits to guess from.
        most = min(held, len(one.tokens) - 1)
        while agreed < most and reader.tokens[agreed] == one.tokens[agreed]:
            agreed += 1
        self._cut(reader, min(agreed, most))
        return reader

    def _begin(self, one: Wanted) -> _Reader | None:
        match = self._cache.match(one.scope, one.tokens)
        taken = self._cache.take(
            one.scope,
            list(one.tokens),
            match=match,
            shared=False,
            now=self._drafts,
            per_token_s=self.cost.per_token_s,
        )
        if taken is None:
            return None
        slot, held = taken
        reader = self._readers[one.key] = _Reader(slot, one.tokens[:held], held)
        return reader

    def _cut(self, reader: _Reader, n_tokens: int) -> None:
        if n_tokens < len(reader.tokens):
            self._backend.truncate(reader.slot, n_tokens)
            del reader.tokens[n_tokens:]
        reader.agreed = n_tokens
        self._cache.slots[reader.slot].held = n_tokens

    def _room(self, one: Wanted) -> int:
        """Guesses that still fit into this model's context."""
        return self._backend.n_ctx_seq - len(one.tokens)

    # ── compute ──────────────────────────────────────────────────────────────────────────────────

    def _catch_up(self, wanted: Sequence[Wanted], readers: dict[int, _Reader]) -> list[Wanted]:
        """Read on, within this step's share; returns those with few enough tokens left to guess at once."""
        budget = max(8, min(self._backend.n_batch, self.cost.tokens_within(_CATCH_UP_S)))
        ready: list[Wanted] = []
        parts: dict[int, tuple[_Reader, list[int]]] = {}
        for one in wanted:
            reader = readers[one.key]
            missing = one.tokens[reader.agreed :]
            if len(missing) <= budget:
                budget -= len(missing)
                ready.append(one)
            elif budget > 0:
                parts[reader.slot] = reader, missing[:budget]
                budget = 0
        if parts:
            self._decode(parts, outputs=0)
            for reader, _ in parts.values():
                reader.agreed = len(reader.tokens)
        return ready

    def _guess(self, feeds: dict[int, tuple[_Reader, list[int]]]) -> dict[int, int]:
        """Compute the next tokens of some slots; the likeliest token after each."""
        spans = self._decode(feeds, outputs=1)
        guesses: dict[int, int] = {}
        for row, span in enumerate(spans):
            guesses[span.slot] = int(self._backend.logits(row).argmax())
        return guesses

    def _decode(self, feeds: dict[int, tuple[_Reader, list[int]]], *, outputs: int) -> list[Span]:
        spans = [Span(slot, len(feeds[slot][0].tokens), feeds[slot][1], outputs) for slot in sorted(feeds)]
        began = self._meter.begin()
        self._backend.decode(spans)
        seconds = self._meter.end(began, is_step=False)
        self.cost.observe(passes=1, tokens=sum(len(span.tokens) for span in spans), seconds=seconds)
        for slot, (reader, feed) in feeds.items():
            reader.tokens.extend(feed)
            self._cache.slots[slot].held = len(reader.tokens)
            self._cache.slots[slot].prefilling = False
        return spans
