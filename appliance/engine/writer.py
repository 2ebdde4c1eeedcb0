"""From logits to what a choice says: sample, verify drafts, append, end. The last part of a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Listed
from dataclasses import dataclass, field
from typing import Any

from appliance.engine.backend import Backend, Vocabulary
from appliance.engine.grammar_turns import GrammarTurns
from appliance.engine.kv_cache import KvCache
from appliance.engine.logprobs import token_logprob
from appliance.engine.meter import Meter
from appliance.engine.output import Emitted
from appliance.engine.sequence import ActiveRequest, Sequence, Status
from appliance.errors import RequestError
from appliance.wire.messages import Delta, FinishReason, TokenLogprob, Usage


@dataclass(slots=True)
class Written:
    """What one step wrote."""

    deltas: list[Delta] = field(default_factory=list)
    faults: dict[int, RequestError] = field(default_factory=dict)
    """Requests that cannot go on."""

    def sound(self) -> list[Delta]:
        """The deltas of all other requests."""
        return [delta for delta in self.deltas if delta.id not in self.faults]


class Writer:
    """Owned by the engine's thread."""

    def __init__(
        self,
        backend: Backend,
        vocabulary: Vocabulary,
        cache: KvCache,
        *,
        candidates: Any,
        meter: Meter,
        turns: GrammarTurns,
        clock: Callable[[], float],
    ) -> None:
        """`candidates`: scratch space that samplers share."""
        self._backend = backend
        self._vocabulary = vocabulary
        self._cache = cache
        self._candidates = candidates
        self._meter = meter
        self._turns = turns
        self._clock = clock

    def write_step(
        self, rows: Listed[tuple[Sequence, int]], running: Listed[Sequence], *, decode_s: float, now: int
    ) -> Written:
        """After a decode that took `decode_s`. `rows`: whose logits it made, with the first row of each."""
        written, made = Written(), dict[int, int]()
        for sequence, row in rows:
            if sequence.has_grammar:
                made[sequence.arrived] = row
            else:
                self._try_write(sequence, row, written, now)
        ready = [one for one in running if one.unsampled is not None or one.arrived in made]
        others = any(not one.has_grammar for one in running)
        for sequence in self._turns.take(ready, decode_s=decode_s, beside_others=others):
            row = made.pop(sequence.arrived, 0)
            self._try_write(sequence, row, written, now, until_s=self._turns.until_s)
        for sequence in ready:
            if sequence.arrived in made:
                self._put_off(sequence, made[sequence.arrived])
        return written

    def _try_write(
        self, sequence: Sequence, row: int, written: Written, now: int, *, until_s: float = math.inf
    ) -> None:
        try:
            written.deltas.append(self._write(sequence, row, now=now, until_s=until_s))
        except RequestError as error:
            written.faults.setdefault(sequence.request.id, error)

    def _write(self, sequence: Sequence, row: int, *, now: int, until_s: float = math.inf) -> Delta:
        """Sample from the batch's output `row` on: one token, and one for each draft that was right; or one
        from the logits that were kept. After `until_s` the rest of a draft is passed over.

        Raises RequestError when the answer cannot go on as it was asked for; `free` the sequence then.
        """
        request = sequence.request
        if request.first_token_s is None:
            request.first_token_s = self._clock()
        gained, logprobs = Emitted(sequence.echo), list[TokenLogprob]()
        sequence.echo = ""
        before, accepted, finish = len(sequence.tokens), 0, None
        while finish is None:
            try:
                token = self._sample(sequence, row + accepted, logprobs)
            except RequestError:
                self._settle_draft(sequence, accepted)
                raise
            finish = FinishReason.STOP if token is None else self._append(sequence, token, gained)
            if token is None or accepted >= len(sequence.draft) or token != sequence.draft[accepted]:
                break
            if until_s < math.inf and self._clock() >= until_s:
                break
            accepted += 1
        self._settle_draft(sequence, min(accepted, len(sequence.tokens) - before))
        tokens = len(sequence.tokens) - before
        self._meter.generated_tokens += tokens
        if finish is not None:
            return self.end(sequence, finish, gained, tokens=tokens, logprobs=logprobs[:tokens], now=now)
        return Delta(
            id=request.id,
            choice=sequence.choice,
            text=gained.text,
            tokens=tokens,
            reasoning=gained.reasoning,
            tool_calls=gained.tool_calls or [],
            logprobs=logprobs,
        )

    def _put_off(self, sequence: Sequence, row: int) -> None:
        """Keep the logits for a later turn. A draft that nobody had time to verify was as good as wrong."""
        sequence.unsampled = self._backend.logits(row).copy()
        self._settle_draft(sequence, 0)
        sequence.draft = []

    def end(
        self,
        sequence: Sequence,
        reason: FinishReason,
        gained: Emitted,
        *,
        tokens: int,
        logprobs: list[TokenLogprob],
        now: int,
    ) -> Delta:
        """Finish one choice; the request's last delta carries its usage. What was computed stays as a cached
        prefix.
        """
        request = sequence.request
        rest = sequence.output.finish(stopped=gained.stop is not None)
        if reason is FinishReason.STOP and sequence.output.saw_tool_call:
            reason = FinishReason.TOOL_CALLS
        self.free(sequence, now=now)
        return Delta(
            id=request.id,
            choice=sequence.choice,
            text=gained.text + rest.text,
            tokens=tokens,
            reasoning=gained.reasoning + rest.reasoning,
            tool_calls=[*(gained.tool_calls or []), *(rest.tool_calls or [])],
            logprobs=logprobs,
            finish_reason=reason,
            stop=gained.stop,
            usage=self._usage(request) if request.finished else None,
        )

    def free(self, sequence: Sequence, *, now: int) -> None:
        """Give its slot back, with what was computed as a cached prefix."""
        if sequence.status is Status.RUNNING:
            held = min(sequence.n_computed, len(sequence.tokens))
            if sequence.n_computed > held:
                self._backend.truncate(sequence.slot, held)
            self._cache.release(sequence.slot, sequence.tokens, held, now=now)
        sequence.status = Status.FINISHED
        sequence.unsampled = None
        sequence.sampler.close()

    def _sample(self, sequence: Sequence, row: int, logprobs: list[TokenLogprob]) -> int | None:
        """The next token, accepted by its sampler; None: the grammar is complete and allows nothing more."""
        logits, sequence.unsampled = sequence.unsampled, None
        if logits is None:
            logits = self._backend.logits(row)
        token = sequence.sampler.sample(logits, self._candidates)
        if token is None:
            return None
        sequence.sampler.accept(token)
        wanted = sequence.request.generate.top_logprobs
        if wanted is not None:
            logprobs.append(token_logprob(logits, token, wanted, self._shown))
        return token

    def _append(self, sequence: Sequence, token: int, gained: Emitted) -> FinishReason | None:
        """Take a sampled token in; says whether and why the sequence ends with it."""
        if self._vocabulary.is_end(token):
            return FinishReason.STOP
        sequence.tokens.append(token)
        piece = self._vocabulary.piece(token, special=token in sequence.special_pieces)
        emitted = sequence.output.feed(piece)
        gained.text += emitted.text
        if emitted.reasoning:
            gained.reasoning += emitted.reasoning
            sequence.request.reasoning_tokens += 1
        if emitted.tool_calls:
            gained.tool_calls = [*(gained.tool_calls or []), *emitted.tool_calls]
        if emitted.stop is not None or emitted.has_ended:
            gained.stop = emitted.stop
            return FinishReason.STOP
        return FinishReason.LENGTH if len(sequence.tokens) >= sequence.limit else None

    def _settle_draft(self, sequence: Sequence, accepted: int) -> None:
        """Cut the wrong guesses out of the slot, and learn."""
        drafted = len(sequence.draft)
        if not drafted:
            return
        sequence.n_computed += accepted
        self._cache.slots[sequence.slot].held = sequence.n_computed
        if accepted < drafted:
            self._backend.truncate(sequence.slot, sequence.n_computed)
        if sequence.drafted_by is not None:
            sequence.drafted_by.judge(drafted, accepted)
        sequence.request.draft_tokens += drafted
        sequence.request.draft_accepted_tokens += accepted
        self._meter.draft_tokens += drafted
        self._meter.draft_accepted_tokens += accepted

    def _usage(self, request: ActiveRequest) -> Usage:
        now = self._clock()
        started = request.started_s if request.started_s is not None else now
        first = request.first_token_s if request.first_token_s is not None else now
        return Usage(
            prompt_tokens=len(request.prompt_tokens),
            cached_tokens=request.cached_tokens,
            completion_tokens=request.completion_tokens,
            reasoning_tokens=request.reasoning_tokens,
            queue_s=started - request.submitted_s,
            prefill_s=first - started,
            decode_s=now - first,
            draft_tokens=request.draft_tokens,
            draft_accepted_tokens=request.draft_accepted_tokens,
        )

    def _shown(self, token: int) -> bytes:
        return self._vocabulary.piece(token, special=True)
