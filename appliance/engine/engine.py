"""The engine: one step over all running sequences. Flow 1 (chat), the middle: schedule, decode, sample, update, output.

`Engine.step` is the table of contents. Decisions are made elsewhere and on values: who gets how many tokens (`scheduler.py`), which slot a
prompt goes to (`kv_cache.py`), how far to guess (`speculation.py`), how many threads (`threads.py`).

There is no callback on the compute path: a step is planned to be short (`step_bound_s`), so that cancel, limits and heartbeat act between steps.
Everything here belongs to the runner's main thread, but `prepare`, which only reads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Union

from appliance.engine.backend import Backend, Span, Vocabulary
from appliance.engine.cost import StepCost
from appliance.engine.interface import Said
from appliance.engine.kv_cache import MIN_REUSE, KvCache, plan_swap, runs
from appliance.engine.logprobs import token_logprob
from appliance.engine.meter import Meter
from appliance.engine.output import Emitted
from appliance.engine.scheduler import Pending, StepLimits, schedule
from appliance.engine.sequence import ActiveRequest, Sequence, Status
from appliance.engine.speculation import DRAFT_TOKENS_PER_STEP
from appliance.errors import EngineFault, to_wire
from appliance.wire.messages import (
    Accepted,
    Delta,
    EngineSettings,
    EngineStats,
    Failed,
    FinishReason,
    ModelFacts,
    Progress,
    SetLimits,
    Step,
    TokenLogprob,
    Usage,
    WireError,
)

_PROGRESS_S = 0.5
_FAULTS_IN_A_ROW = 3
"""After this many failed decodes without a good one between, the engine itself is at fault and the runner ends."""


class Engine:
    """Owned by the runner's main thread."""

    def __init__(
        self,
        backend: Backend,
        vocabulary: Vocabulary,
        *,
        facts: ModelFacts,
        settings: EngineSettings,
        candidates: Any,
        meter: Meter,
        prepare: Callable[[Any], Any],
        n_swa: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.facts = facts
        self.prepare = prepare
        self.cost = StepCost()
        self.kv_cache = KvCache(backend, n_swa=n_swa, clock=clock)
        self._backend = backend
        self._vocabulary = vocabulary
        self._settings = settings
        self._candidates = candidates
        self._meter = meter
        self._clock = clock
        self._limits = SetLimits()
        self._requests: dict[int, ActiveRequest] = {}
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._adapters: tuple[tuple[str, float], ...] = ()
        self._arrivals = 0
        self._steps = 0
        self._faults_in_a_row = 0
        self._draft_room = 0
        self._threads = 0

    # ── what the loop asks ─────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, prepared: ActiveRequest) -> list[Said]:
        prepared.submitted_s = self._clock()
        self._requests[prepared.id] = prepared
        match = self.kv_cache.match(prepared.scope, prepared.prompt_tokens)
        for sequence in prepared.sequences:
            self._arrivals += 1
            sequence.arrived = self._arrivals
            self._waiting.append(sequence)
        return [
            Accepted(id=prepared.id, prompt_tokens=len(prepared.prompt_tokens), cached_tokens=match.ready)
        ]

    def cancel(self, request_id: int) -> list[Said]:
        request = self._requests.get(request_id)
        if request is None:
            return []
        deltas = [
            self._ended(sequence, FinishReason.CANCELLED, Emitted(), tokens=0)
            for sequence in request.sequences
            if sequence.status is not Status.FINISHED
        ]
        self._drop_finished()
        return [Step(deltas=deltas)] if deltas else []

    def set_limits(self, limits: SetLimits) -> None:
        self._limits = limits

    def has_work(self) -> bool:
        return bool(self._running or self._waiting)

    def pause_s(self) -> float:
        return self._limits.pause_s

    def stats(self) -> EngineStats:
        return self._meter.stats(
            running=len(self._running),
            waiting=len(self._waiting),
            steps=self._steps,
            kv_cells_used=self.kv_cache.cells_used,
            kv_cells=self._backend.n_ctx_seq * self._backend.n_slots,
            prefixes=self.kv_cache.prefixes,
        )

    def step(self) -> list[Said]:
        """One bounded step. Raises EngineFault when decode keeps failing."""
        self._steps += 1
        self._admit()
        self._close_gaps()
        group = self._group()
        if not group:
            return []
        spans, members = self._plan(group)
        try:
            self._decode(spans)
        except EngineFault as fault:
            return self._fail(members, fault)
        deltas = self._update(spans, members)
        progress = self._progress(members)
        self._drop_finished()
        return [Step(deltas=deltas, progress=progress)] if deltas or progress else []

    # ── admit ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _admit(self) -> None:
        """Give slots to waiting sequences, in order of arrival; one that waits for a prefix lets later ones pass."""
        if not self._waiting:
            return
        most = self._limits.max_running or self._backend.n_slots
        still: deque[Sequence] = deque()
        while self._waiting and len(self._running) < most and self.kv_cache.has_free:
            sequence = self._waiting.popleft()
            if not self._start(sequence):
                still.append(sequence)
        still.extend(self._waiting)
        self._waiting = still

    def _start(self, sequence: Sequence) -> bool:
        request, cache = sequence.request, self.kv_cache
        if sequence.awaits is not None and cache.slots[sequence.awaits].prefilling:
            return False
        reusing = self._settings.prefix_reuse and request.generate.cache_prompt
        scope = request.scope if reusing else f"\0alone {request.id}"
        match = cache.match(scope, request.prompt_tokens)
        if match.awaited is not None and match.coming - match.ready >= MIN_REUSE:
            sequence.awaits = match.awaited
            return False
        taken = cache.take(
            scope,
            request.prompt_tokens,
            match=match,
            shared=reusing and request.generate.shared_prefix,
            now=self._steps,
            per_token_s=self.cost.per_token_s,
        )
        if taken is None:
            return False
        sequence.slot, sequence.n_computed = taken
        sequence.status = Status.RUNNING
        sequence.awaits = None
        self._running.append(sequence)
        if request.started_s is None:
            request.started_s = self._clock()
        if sequence.choice == 0:
            request.cached_tokens = sequence.n_computed
        self._meter.cached_tokens += sequence.n_computed
        return True

    def _close_gaps(self) -> None:
        """Bring running sequences into neighbouring slots, one exchange a step, where that pays."""
        cache = self.kv_cache
        exchange = plan_swap(cache.busy, [slot.held for slot in cache.slots])
        if exchange is None or not cache.swap_pays(*exchange, per_pass_s=self.cost.per_pass_s):
            return
        busy, free = exchange
        cache.swap(busy, free)
        for sequence in self._running:
            if sequence.slot == busy:
                sequence.slot = free
        for sequence in self._waiting:
            if sequence.awaits == busy:
                sequence.awaits = free

    def _group(self) -> list[Sequence]:
        """The sequences of this step: a context has one set of adapters at a time, so sets take turns."""
        if not self._running:
            return []
        sets = list(dict.fromkeys(sequence.request.adapters for sequence in self._running))
        if len(sets) == 1 and sets[0] == self._adapters:
            return self._running
        after = sets.index(self._adapters) + 1 if self._adapters in sets else 0
        chosen = sets[after % len(sets)]
        if chosen != self._adapters:
            self._backend.set_adapters(chosen)
            self._adapters = chosen
        return [sequence for sequence in self._running if sequence.request.adapters == chosen]

    # ── plan and decode ────────────────────────────────────────────────────────────────────────────────────────────

    def _plan(self, group: list[Sequence]) -> tuple[list[Span], list[Sequence]]:
        decoding = sum(1 for sequence in group if not sequence.remaining_prompt)
        self._draft_room = DRAFT_TOKENS_PER_STEP
        pending = [
            Pending(
                key=sequence.slot,
                arrived=sequence.arrived,
                remaining_prompt=sequence.remaining_prompt,
                draft=self._draft(sequence, decoding),
            )
            for sequence in group
        ]
        limits = StepLimits(
            bound_s=self._settings.step_bound_s,
            n_batch=self._backend.n_batch,
            token_budget=self._limits.token_budget,
        )
        tokens_of = schedule(pending, self.cost, limits)
        members = sorted(
            (sequence for sequence in group if tokens_of.get(sequence.slot)), key=lambda member: member.slot
        )
        return [self._span(member, tokens_of[member.slot]) for member in members], members

    def _draft(self, sequence: Sequence, decoding: int) -> int:
        sequence.draft = []
        if sequence.lookup is not None and not sequence.remaining_prompt:
            longest = min(self._draft_room, sequence.limit - len(sequence.tokens) - 1)
            sequence.draft = sequence.lookup.propose(sequence.tokens, decoding, self.cost, longest)
            self._draft_room -= len(sequence.draft)
        return len(sequence.draft)

    def _span(self, sequence: Sequence, n_tokens: int) -> Span:
        start = sequence.n_computed
        if sequence.remaining_prompt:
            end = start + n_tokens
            wanted = 1 if end >= sequence.n_prompt else 0
            return Span(sequence.slot, start, sequence.tokens[start:end], wanted)
        del sequence.draft[n_tokens - 1 :]
        tokens = [sequence.tokens[-1], *sequence.draft]
        return Span(sequence.slot, start, tokens, len(tokens))

    def _decode(self, spans: list[Span]) -> None:
        threads = self._meter.threads()
        if threads != self._threads:
            self._backend.set_threads(threads)
            self._threads = threads
        began = self._meter.begin()
        self._backend.decode(spans)
        seconds = self._meter.end(began)
        tokens = sum(len(span.tokens) for span in spans)
        passes = runs([span.slot for span in spans]) + sum(1 for span in spans if len(span.tokens) > 1)
        if spans[0].outputs == 0 and len(spans) == 1:
            passes = 1
        self.cost.observe(passes=passes, tokens=tokens, seconds=seconds)
        self._faults_in_a_row = 0

    def _fail(self, members: Iterable[Sequence], fault: EngineFault) -> list[Said]:
        """A failed decode leaves the slots of its batch undefined: fail their requests, forget the slots, live on."""
        self._faults_in_a_row += 1
        if self._faults_in_a_row >= _FAULTS_IN_A_ROW:
            raise fault
        said: list[Said] = []
        name, fields = to_wire(fault)
        for request in {id(member.request): member.request for member in members}.values():
            for sequence in request.sequences:
                if sequence.status is Status.RUNNING:
                    self.kv_cache.forget(sequence.slot)
                sequence.status = Status.FINISHED
                sequence.sampler.close()
            del self._requests[request.id]
            said.append(Failed(id=request.id, error=WireError(name=name, fields=fields)))
        self._forget_finished_sequences()
        return said

    # ── update ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _update(self, spans: list[Span], members: list[Sequence]) -> list[Delta]:
        deltas: list[Delta] = []
        row = 0
        for span, sequence in zip(spans, members, strict=True):
            row += len(span.tokens)
            slot = self.kv_cache.slots[sequence.slot]
            if sequence.remaining_prompt:
                computed = min(len(span.tokens), sequence.remaining_prompt)
                sequence.n_computed += computed
                self._meter.prompt_tokens += computed
            else:
                sequence.n_computed += 1
            slot.held = sequence.n_computed
            if span.outputs:
                slot.prefilling = False
                deltas.append(self._generate(sequence, row - span.outputs))
        return deltas

    def _generate(self, sequence: Sequence, row: int) -> Delta:
        """Sample from `row` on: one token, and one more for each drafted token that the model agrees with."""
        request, sampler = sequence.request, sequence.sampler
        if request.first_token_s is None:
            request.first_token_s = self._clock()
        gained = Emitted()
        logprobs: list[TokenLogprob] = []
        before, accepted, finish = len(sequence.tokens), 0, None
        while finish is None:
            logits = self._backend.logits(row + accepted)
            try:
                token = sampler.sample(logits, self._candidates)
            except EngineFault:
                # The grammar is complete and allows nothing more: what there is, is the answer.
                finish = FinishReason.STOP
                break
            sampler.accept(token)
            finish = self._append(sequence, token, gained)
            if request.generate.top_logprobs is not None and len(sequence.tokens) > before + len(logprobs):
                logprobs.append(token_logprob(logits, token, request.generate.top_logprobs, self._piece))
            if accepted >= len(sequence.draft) or token != sequence.draft[accepted]:
                break
            accepted += 1
        self._settle_draft(sequence, accepted if finish is None else min(accepted, len(sequence.draft)))
        tokens = len(sequence.tokens) - before
        self._meter.generated_tokens += tokens
        if finish is not None:
            return self._ended(sequence, finish, gained, tokens=tokens, logprobs=logprobs)
        return Delta(
            id=request.id,
            choice=sequence.choice,
            text=gained.text,
            tokens=tokens,
            reasoning=gained.reasoning,
            tool_calls=gained.tool_calls or [],
            logprobs=logprobs,
        )

    def _append(self, sequence: Sequence, token: int, gained: Emitted) -> FinishReason | None:
        """Take a sampled token in; says whether and why the sequence ends with it."""
        if self._vocabulary.is_end(token):
            return FinishReason.STOP
        sequence.tokens.append(token)
        emitted = sequence.output.feed(
            self._vocabulary.piece(token, special=token in sequence.special_pieces)
        )
        gained.text += emitted.text
        if emitted.reasoning:
            gained.reasoning += emitted.reasoning
            sequence.request.reasoning_tokens += 1
        if emitted.tool_calls:
            gained.tool_calls = [*(gained.tool_calls or []), *emitted.tool_calls]
        if emitted.stop is not None:
            gained.stop = emitted.stop
            return FinishReason.STOP
        return FinishReason.LENGTH if len(sequence.tokens) >= sequence.limit else None

    def _settle_draft(self, sequence: Sequence, accepted: int) -> None:
        """Cut the wrong guesses out of the slot, and learn."""
        drafted = len(sequence.draft)
        if not drafted:
            return
        sequence.n_computed += accepted
        self.kv_cache.slots[sequence.slot].held = sequence.n_computed
        if accepted < drafted:
            self._backend.truncate(sequence.slot, sequence.n_computed)
        assert sequence.lookup is not None
        sequence.lookup.judge(drafted, accepted)
        sequence.request.draft_tokens += drafted
        sequence.request.draft_accepted_tokens += accepted
        self._meter.draft_tokens += drafted
        self._meter.draft_accepted_tokens += accepted

    def _ended(
        self,
        sequence: Sequence,
        reason: FinishReason,
        gained: Emitted,
        *,
        tokens: int,
        logprobs: list[TokenLogprob] | None = None,
    ) -> Delta:
        """Finish one choice; the request's last delta carries its usage."""
        request = sequence.request
        rest = sequence.output.finish(stopped=gained.stop is not None)
        if reason is FinishReason.STOP and sequence.output.saw_tool_call:
            reason = FinishReason.TOOL_CALLS
        if sequence.status is Status.RUNNING:
            held = min(sequence.n_computed, len(sequence.tokens))
            self.kv_cache.release(sequence.slot, sequence.tokens, held, now=self._steps)
            if sequence.n_computed > held:
                self._backend.truncate(sequence.slot, held)
        sequence.status = Status.FINISHED
        sequence.finish_reason = reason
        sequence.sampler.close()
        return Delta(
            id=request.id,
            choice=sequence.choice,
            text=gained.text + rest.text,
            tokens=tokens,
            reasoning=gained.reasoning + rest.reasoning,
            tool_calls=[*(gained.tool_calls or []), *(rest.tool_calls or [])],
            logprobs=logprobs or [],
            finish_reason=reason,
            stop=gained.stop,
            usage=self._usage(request) if request.finished else None,
        )

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

    # ── after the step ─────────────────────────────────────────────────────────────────────────────────────────────

    def _progress(self, members: list[Sequence]) -> list[Progress]:
        now: Union[float, None] = None
        told: list[Progress] = []
        for sequence in members:
            if sequence.remaining_prompt:
                now = self._clock() if now is None else now
                if now - sequence.request.progress_at_s >= _PROGRESS_S:
                    sequence.request.progress_at_s = now
                    told.append(
                        Progress(
                            id=sequence.request.id,
                            done_tokens=sequence.n_computed,
                            total_tokens=sequence.n_prompt,
                        )
                    )
        return told

    def _drop_finished(self) -> None:
        if any(sequence.status is Status.FINISHED for sequence in (*self._running, *self._waiting)):
            self._forget_finished_sequences()
        for request_id in [key for key, request in self._requests.items() if request.finished]:
            del self._requests[request_id]

    def _forget_finished_sequences(self) -> None:
        self._running = [sequence for sequence in self._running if sequence.status is not Status.FINISHED]
        self._waiting = deque(
            sequence for sequence in self._waiting if sequence.status is not Status.FINISHED
        )

    def _piece(self, token: int) -> bytes:
        return self._vocabulary.piece(token, special=True)
