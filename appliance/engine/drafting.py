"""Which sequences of a step get a draft, from whom, and how long: before the schedule, after the group is
known.

Look-up goes first: it costs nothing. The draft model is asked for the rest, where its guesses pay for
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Listed

from appliance import log
from appliance.engine.cost import StepCost
from appliance.engine.sequence import Sequence
from appliance.engine.speculation import (
    DRAFT_TOKENS_PER_STEP,
    MAX_DRAFT,
    Proposer,
    Wanted,
    draft_length,
)
from appliance.errors import EngineFault

_log = log.logger("engine")


class Drafter:
    """Owned by the engine's thread."""

    def __init__(self, proposer: Proposer | None) -> None:
        self._proposer = proposer

    def draft(
        self, group: Listed[Sequence], running: Listed[Sequence], cost: StepCost, *, bound_s: float = math.inf
    ) -> None:
        """Set `draft` of every sequence of the step. `running`: all that have not ended. `bound_s`: drafts
        make no step longer than that.
        """
        decoding = [sequence for sequence in group if not sequence.remaining_prompt]
        room = DRAFT_TOKENS_PER_STEP
        if bound_s < math.inf:
            room = max(0, min(room, cost.tokens_within(bound_s) - len(decoding)))
        for sequence in group:
            sequence.draft = []
        for sequence in decoding:
            room -= self._look_up(sequence, len(decoding), cost, room)
        if self._proposer is not None and room > 0:
            try:
                self._ask(self._proposer, decoding, running, cost, room)
            except EngineFault as fault:
                # Guesses are no duty: what it was asked for goes on without them.
                _log.warning("draft_model_failed", reason=fault.message)
                self._proposer = None
                for sequence in decoding:
                    sequence.draft = sequence.draft if sequence.drafted_by is sequence.lookup else []

    def set_threads(self, n_threads: int) -> None:
        if self._proposer is not None:
            self._proposer.set_threads(n_threads)

    @staticmethod
    def _look_up(sequence: Sequence, decoding: int, cost: StepCost, room: int) -> int:
        """Returns the draft's length."""
        if sequence.lookup is None:
            return 0
        longest = min(room, _most(sequence))
        sequence.draft = sequence.lookup.propose(sequence.tokens, decoding, cost, longest)
        sequence.drafted_by = sequence.lookup
        return len(sequence.draft)

    @staticmethod
    def _ask(
        proposer: Proposer, decoding: Listed[Sequence], running: Listed[Sequence], cost: StepCost, room: int
    ) -> None:
        able = [
            sequence for sequence in decoding if not sequence.draft and _could_pay(sequence, proposer, cost)
        ]
        if not able:
            return
        # One length for all: a batch of equal lengths is one pass.
        rate = sum(sequence.model_guesses.rate for sequence in able if sequence.model_guesses) / len(able)
        length = draft_length(
            rate,
            len(decoding),
            cost,
            min(room // len(able), MAX_DRAFT),
            drafting=len(able),
            guess_s=proposer.guess_s(len(able)),
        )
        wanted = [
            Wanted(
                key=sequence.arrived,
                scope=sequence.request.scope,
                tokens=sequence.tokens,
                longest=min(length, _most(sequence)),
            )
            for sequence in able
            if min(length, _most(sequence)) > 0
        ]
        if not wanted:
            return
        drafts = proposer.propose(wanted, {sequence.arrived for sequence in running})
        for sequence in able:
            sequence.draft = drafts.get(sequence.arrived, [])
            sequence.drafted_by = sequence.model_guesses


def _could_pay(sequence: Sequence, proposer: Proposer, cost: StepCost) -> bool:
    """Whether the model's guesses are right often enough to pay if the sequence were alone."""
    guesses = sequence.model_guesses
    if guesses is None:
        return False
    return draft_length(guesses.rate, 1, cost, _most(sequence), guess_s=proposer.guess_s(1)) > 0


def _most(sequence: Sequence) -> int:
    """Drafted tokens that could all be kept: the last token of an answer needs no guess."""
    return sequence.limit - len(sequence.tokens) - 1
