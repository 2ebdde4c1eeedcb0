"""The engine: one step over all running sequences. Flow 1 (chat), the middle: schedule, decode, sample,
update, output.

`Engine.step` is the table of contents. Decisions are made elsewhere and on values: who gets how many tokens
(`scheduler.py`), which slot a prompt goes to (`kv_cache.py`), how far to guess (`speculation.py`), how many
threads (`threads.py`).

There is no callback on the compute path: a step is planned to be short (`step_bound_s`), so that cancel,
limits and heartbeat act between steps. Everything here belongs to the runner's main thread, but `prepare`,
which only reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from appliance.engine.admission import Admission
from appliance.engine.backend import Backend, Span, Vocabulary
from appliance.engine.cost import StepCost
from appliance.engine.drafting import Drafter
from appliance.engine.grammar_turns import GrammarTurns
from appliance.engine.hibernation.waking import Sleep
from appliance.engine.interface import Prepared, Said
from appliance.engine.kv_cache import KvCache, count_passes
from appliance.engine.meter import Meter
from appliance.engine.output import Emitted
from appliance.engine.scheduler import Pending, StepLimits, schedule
from appliance.engine.sequence import ActiveRequest, Sequence, Status
from appliance.engine.speculation import Proposer
from appliance.engine.writer import Writer
from appliance.errors import EngineFault, RequestError, to_wire
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
    WireError,
)

_PROGRESS_S = 0.5
_SAME_STEPS = 4
"""Of steps with equally many tokens, every so many-th is shown to the cost model."""
_WAKE_S = 0.05
"""So long a step without work waits for a snapshot."""
_FAULTS_IN_A_ROW = 3
"""After this many failed decodes without a good one between, the engine itself is at fault and the runner
ends.
"""


class Engine:
    """Owned by the runner's main thread."""

    def __init__(  # noqa: PLR0913  # its parts, all by name, made by `loader.py`
        self,
        backend: Backend,
        vocabulary: Vocabulary,
        *,
        facts: ModelFacts,
        settings: EngineSettings,
        candidates: Any,
        meter: Meter,
        prepare: Callable[[Any, Callable[[], bool]], Any],
        n_swa: int = 0,
        proposer: Proposer | None = None,
        hibernation: Sleep | None = None,
        close: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.facts = facts
        self.prepare = prepare
        self.cost = StepCost()
        self.decode_cost = StepCost()
        """Of steps without prefill. Every token of theirs pays for the output layer, so drafts are judged by
        it.
        """
        self.kv_cache = KvCache(backend, n_swa=n_swa, clock=clock)
        self._backend = backend
        self._drafter = Drafter(proposer)
        self._close = close
        self._settings = settings
        self._meter = meter
        self._clock = clock
        self._sleep = hibernation
        self._admission = Admission(
            self.kv_cache,
            n_slots=backend.n_slots,
            reuses=settings.prefix_reuse,
            waking=None if hibernation is None else hibernation.attach(self.kv_cache),
        )
        self._turns = GrammarTurns(bound_s=settings.step_bound_s, clock=clock)
        self._writer = Writer(
            backend,
            vocabulary,
            self.kv_cache,
            candidates=candidates,
            meter=meter,
            turns=self._turns,
            clock=clock,
        )
        self._limits = SetLimits()
        self._requests: dict[int, ActiveRequest] = {}
        self._adapters: tuple[tuple[str, float], ...] = ()
        self._threads = 0
        self._last_tokens = 0
        self._steps = 0
        self._faults_in_a_row = 0

    # ── what the loop asks ───────────────────────────────────────────────────────────────────────

    def submit(self, prepared: Prepared) -> list[Said]:
        assert isinstance(prepared, ActiveRequest)
        prepared.submitted_s = self._clock()
        self._requests[prepared.id] = prepared
        match = self._admission.match(prepared.sequences[0])
        for sequence in prepared.sequences:
            self._admission.add(sequence)
        return [
            Accepted(id=prepared.id, prompt_tokens=len(prepared.prompt_tokens), cached_tokens=match.ready)
        ]

    def cancel(self, request_id: int) -> list[Said]:
        request = self._requests.get(request_id)
        if request is None:
            return []
        deltas = [
            self._writer.end(
                sequence, FinishReason.CANCELLED, Emitted(), tokens=0, logprobs=[], now=self._steps
            )
            for sequence in request.sequences
            if sequence.status is not Status.FINISHED
        ]
        self._forget_finished(deltas)
        return [Step(deltas=deltas)] if deltas else []

    def set_limits(self, limits: SetLimits) -> None:
        self._limits = limits

    def has_work(self) -> bool:
        admits = self._limits.max_running != 0
        return bool(self._admission.running or (admits and self._admission.waiting))

    def expected_s(self) -> float:
        return 0.0  # every step is planned to be short

    def rest(self) -> None:
        if self._sleep is not None:
            self._sleep.hibernator.rest(self.kv_cache.slots)

    def hibernate(self) -> None:
        for request_id in list(self._requests):
            self.cancel(request_id)
        if self._sleep is not None:
            self._sleep.hibernator.finish(self.kv_cache.slots)

    def stats(self) -> EngineStats:
        stats = self._meter.stats(
            running=len(self._admission.running),
            waiting=len(self._admission.waiting),
            steps=self._steps,
            kv_cells_used=self.kv_cache.cells_used,
            kv_cells=self._backend.n_ctx_seq * self._backend.n_slots,
            prefixes=self.kv_cache.prefixes,
        )
        return stats if self._sleep is None else self._sleep.hibernator.told_in(stats)

    def close(self) -> None:
        """Free the requests and what is under the engine. Nothing may be called afterwards."""
        for request_id in list(self._requests):
            self.cancel(request_id)
        if self._sleep is not None:
            self._sleep.hibernator.close()
        if self._close is not None:
            self._close()

    def step(self) -> list[Said]:
        """One bounded step. Raises EngineFault when decode keeps failing."""
        self._steps += 1
        self._admit()
        self._admission.close_gap(per_pass_s=self.cost.per_pass_s)
        group = self._group()
        if not group:
            if self._sleep is not None and self._admission.waiting:
                self._sleep.hibernator.wait(_WAKE_S)
            return []
        spans, members = self._plan([sequence for sequence in group if sequence.unsampled is None])
        try:
            decode_s = self._decode(spans) if spans else 0.0
        except EngineFault as fault:
            return self._fail(members, fault)
        deltas, failed = self._update(spans, members, decode_s)
        progress = self._progress(members)
        self._forget_finished(deltas)
        return [Step(deltas=deltas, progress=progress), *failed] if deltas or progress else [*failed]

    # ── admit ────────────────────────────────────────────────────────────────────────────────────

    def _admit(self) -> None:
        if self._sleep is not None:
            self._sleep.hibernator.step()
        if not self._admission.waiting:
            return
        started = self._admission.admit(
            most=self._limits.max_running,
            now=self._steps,
            per_token_s=self.cost.per_token_s,
            bound_s=self._settings.step_bound_s,
        )
        for sequence in started:
            request = sequence.request
            if request.started_s is None:
                request.started_s = self._clock()
            if sequence.choice == 0:
                request.cached_tokens = sequence.n_computed
            self._meter.cached_tokens += sequence.n_computed

    def _group(self) -> list[Sequence]:
        """The sequences of this step: a context has one set of adapters at a time, so sets take turns."""
        running = self._admission.running
        sets = list(dict.fromkeys(sequence.request.adapters for sequence in running))
        if not sets or (len(sets) == 1 and sets[0] == self._adapters):
            return running
        after = sets.index(self._adapters) + 1 if self._adapters in sets else 0
        chosen = sets[after % len(sets)]
        if chosen != self._adapters:
            self._backend.set_adapters(chosen)
            self._adapters = chosen
        return [sequence for sequence in running if sequence.request.adapters == chosen]

    # ── plan and decode ──────────────────────────────────────────────────────────────────────────

    def _plan(self, group: list[Sequence]) -> tuple[list[Span], list[Sequence]]:
        bound_s = self._turns.decode_bound_s
        self._drafter.draft(group, self._admission.running, self.decode_cost, bound_s=bound_s)
        if self._limits.token_budget is None and not any(one.remaining_prompt or one.draft for one in group):
            # PERF: a pure decode step, as most are, has nothing to decide.
            members = sorted(group, key=lambda member: member.slot) if len(group) > 1 else group
            for one in members:
                one.last_step = self._steps
            return [Span(one.slot, one.n_computed, one.tokens[-1:], 1) for one in members], members
        pending = [
            Pending(
                key=sequence.slot,
                arrived=sequence.arrived,
                remaining_prompt=sequence.remaining_prompt,
                whole_prompt=sequence.n_prompt - sequence.n_cached,
                draft=len(sequence.draft),
                last_step=sequence.last_step,
            )
            for sequence in group
        ]
        limits = StepLimits(
            bound_s=bound_s,
            n_batch=self._backend.n_batch,
            token_budget=self._limits.token_budget,
            step=self._steps,
        )
        tokens_of = schedule(pending, self.cost, limits)
        members = sorted(
            (sequence for sequence in group if tokens_of.get(sequence.slot)), key=lambda member: member.slot
        )
        for member in members:
            member.last_step = self._steps
        return [self._span(member, tokens_of[member.slot]) for member in members], members

    def _span(self, sequence: Sequence, n_tokens: int) -> Span:
        start = sequence.n_computed
        if sequence.remaining_prompt:
            end = start + n_tokens
            wanted = 1 if end >= sequence.n_prompt else 0
            return Span(sequence.slot, start, sequence.tokens[start:end], wanted)
        del sequence.draft[n_tokens - 1 :]
        tokens = [sequence.tokens[-1], *sequence.draft]
        return Span(sequence.slot, start, tokens, len(tokens))

    def _decode(self, spans: list[Span]) -> float:
        """Returns how long it took."""
        began = self._meter.begin()
        threads = self._meter.threads()
        if threads != self._threads:
            self._backend.set_threads(threads)
            self._drafter.set_threads(threads)
            self._threads = threads
        self._backend.decode(spans)
        seconds = self._meter.end(began)
        self._faults_in_a_row = 0
        tokens = sum(len(span.tokens) for span in spans)
        if tokens == self._last_tokens and self._steps % _SAME_STEPS:
            return seconds  # PERF: steps like the one before teach little
        self._last_tokens = tokens
        passes = count_passes({span.slot: len(span.tokens) for span in spans})
        self.observe(
            passes=passes, tokens=tokens, outputs=sum(span.outputs for span in spans), seconds=seconds
        )
        return seconds

    def observe(self, *, passes: int, tokens: int, outputs: int, seconds: float) -> None:
        """Learn from a step what the next ones cost."""
        self.cost.observe(passes=passes, tokens=tokens, seconds=seconds)
        if outputs == tokens:
            self.decode_cost.observe(passes=passes, tokens=tokens, seconds=seconds)

    def _fail(self, members: list[Sequence], fault: EngineFault) -> list[Said]:
        """A failed decode leaves the slots of its batch undefined: fail their requests, forget the slots,
        live on.
        """
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
        self._admission.drop_finished()
        return said

    # ── update ───────────────────────────────────────────────────────────────────────────────────

    def _update(
        self, spans: list[Span], members: list[Sequence], decode_s: float
    ) -> tuple[list[Delta], list[Failed]]:
        rows: list[tuple[Sequence, int]] = []
        row = 0
        for span, sequence in zip(spans, members, strict=True):
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
                rows.append((sequence, row))
                row += span.outputs
        written = self._writer.write_step(rows, self._admission.running, decode_s=decode_s, now=self._steps)
        return written.sound(), self._end_failed(written.faults)

    def _end_failed(self, faults: dict[int, RequestError]) -> list[Failed]:
        """Requests that cannot go on, with all choices. What they computed is sound and stays cached."""
        failed: list[Failed] = []
        for request_id, error in faults.items():
            for sequence in self._requests.pop(request_id).sequences:
                if sequence.status is not Status.FINISHED:
                    self._writer.free(sequence, now=self._steps)
            name, fields = to_wire(error)
            failed.append(Failed(id=request_id, error=WireError(name=name, fields=fields)))
        if failed:
            self._admission.drop_finished()
        return failed

    # ── after the step ───────────────────────────────────────────────────────────────────────────

    def _progress(self, members: list[Sequence]) -> list[Progress]:
        """Of prefills under way, at most every `_PROGRESS_S` each."""
        prefilling = [sequence for sequence in members if sequence.remaining_prompt]
        if not prefilling:
            return []
        now_s, told = self._clock(), list[Progress]()
        for sequence in prefilling:
            if now_s - sequence.request.progress_at_s >= _PROGRESS_S:
                sequence.request.progress_at_s = now_s
                told.append(
                    Progress(
                        id=sequence.request.id,
                        done_tokens=sequence.n_computed,
                        total_tokens=sequence.n_prompt,
                    )
                )
        return told

    def _forget_finished(self, deltas: list[Delta]) -> None:
        ended = [delta for delta in deltas if delta.finish_reason is not None]
        if not ended:
            return
        self._admission.drop_finished()
        for delta in ended:
            if delta.usage is not None:
                del self._requests[delta.id]
