"""What the supervisor asks of sizes and of this board's memory (`supervisor/placing.Plans`).

A ladder is made of formulas first, which know every rung at once. The rungs that are likely to be taken are
then sized by a dry run, a few in one child: what a runner is started with is exact wherever there is time to
know it. The others keep their formulas' sizes, made larger where the dry run found the formulas too small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final, Protocol

from msgspec import structs

from appliance import log
from appliance.daemon.accelerators import gpu_plan
from appliance.daemon.known_headers import KnownHeaders
from appliance.errors import InsufficientMemory, RunnerHung, RunnerStartFailed
from appliance.hardware.features import read_features
from appliance.hardware.memory import Memory
from appliance.hardware.reclaim import BY_HAND, Reclaimed
from appliance.planner.budget import Bound, Budget, Reading, budget
from appliance.planner.choice import choose
from appliance.planner.facts import Accelerator, Footprint, Ladder, Rung
from appliance.planner.fit import Machine, Policy, Subject, ladder_of
from appliance.planner.footprint import resident_after_load
from appliance.planner.header_sizes import Model
from appliance.planner.ladder import resized
from appliance.planner.prices import PriceTable, default_prices
from appliance.supervisor.learned_sizes import LearnedSizes
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.sizer import ModelFiles, Sizing, Source
from appliance.wire.messages import Placement

_log = log.logger("planning")

_ROUNDS: Final = 3
"""Exact sizes may lead to another rung; past these the formulas' word is taken for the rest."""

_UNKNOWN: Final = Budget(
    bytes=0, total_bytes=0, available_bytes=0, reserve_bytes=0, bound=Bound.MEM_AVAILABLE
)
"""No ladder depends on it."""


_Key = tuple[str | None, Placement]
"""A rung: the variant that stands in, and the placement."""


class Sizes(Protocol):
    """`supervisor.sizer.Sizer`."""

    def sizes(self, files: ModelFiles, placements: Sequence[Placement]) -> Sizing: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPolicy:
    """From `[memory]`."""

    reserve_bytes: int
    min_ctx: int
    comfortable: int
    parallel_share: float
    own_kernels: bool
    accelerator: Accelerator = Accelerator.NONE
    prices: PriceTable | None = None


class BoardPlans:
    """`ladder` belongs to the planning thread; the others to any."""

    def __init__(
        self,
        sizes: Sizes,
        *,
        policy: PlanPolicy,
        read_memory: Callable[[], Memory],
        learned: LearnedSizes | None = None,
        reclaim: Callable[[], Reclaimed] | None = None,
        prices: Callable[[Sequence[str], PriceTable], PriceTable] = lambda _paths, common: common,
    ) -> None:
        """`reclaim`: how the kernel is asked to give memory back; None: it is not. `prices`: those of a
        model, by its files, from the common ones: what was measured of it here.
        """
        self._sizes = sizes
        self._policy = policy
        self._read_memory = read_memory
        self._learned = learned
        self._reclaim = reclaim
        self._prices = prices
        self._features = read_features()
        self._headers = KnownHeaders()
        """The planning thread's."""

    def budget(self) -> Budget | None:
        return budget_of(self._read_memory(), reserve_bytes=self._policy.reserve_bytes)

    def ladder(self, spec: ModelSpec, budgets: Sequence[int] = ()) -> Ladder:
        """Raises ModelInvalid, FileUnreadable, InvalidRequest."""
        return self._corrected(spec, self._sized(spec, self._rough(spec), budgets))

    def learn(self, spec: ModelSpec, rung: Rung, measured_bytes: int) -> None:
        planned_bytes = resident_after_load(rung.footprint)
        if measured_bytes > planned_bytes:
            _log.warning(
                "plan_too_small", model=spec.name, planned_bytes=planned_bytes, measured_bytes=measured_bytes
            )
        if self._learned is not None:
            self._learned.observe(
                model=_identity(spec), planned_bytes=planned_bytes, measured_bytes=measured_bytes
            )

    def reclaim(self) -> None:
        """Tells what was done, and what an operator must do by hand."""
        if self._reclaim is None:
            return
        reclaimed = self._reclaim()
        if reclaimed.refused:
            _log.warning("reclaim_refused", refused=list(reclaimed.refused), by_hand=BY_HAND)
        else:
            _log.info("memory_reclaimed", done=list(reclaimed.done))

    # ── the planning thread ────────────────────────────────────────────────────────────────────────────────

    def _rough(self, spec: ModelSpec) -> Ladder:
        policy = self._policy
        machine = Machine(
            name=None,
            budget=self.budget() or _UNKNOWN,
            accelerator=gpu_plan(spec.device, policy.accelerator),
            cpu=self._features,
            prices=self._prices(
                spec.paths or (spec.path,), policy.prices or default_prices(policy.accelerator)
            ),
        )
        fit_policy = Policy(
            min_ctx=policy.min_ctx, comfortable=policy.comfortable, parallel_share=policy.parallel_share
        )
        return ladder_of(
            self._subject(spec),
            machine,
            policy=fit_policy,
            min_ctx=spec.min_ctx or None,
            smaller=[self._subject(smaller) for smaller in spec.smaller if smaller.broken is None],
        )

    def _subject(self, spec: ModelSpec) -> Subject:
        known = self._headers.of(spec.paths or (spec.path,), model=spec.name)
        model = Model(
            header=known.header,
            vocabulary_bytes=known.vocabulary_bytes,
            own_kernels=self._own_kernels(spec),
            speculation=spec.settings.speculation,
        )
        return Subject(name=spec.name, model=model, read_bytes=0, wish=spec.placement, origin="its header")

    def _own_kernels(self, spec: ModelSpec) -> bool:
        """A calibration may have found them slower for this model."""
        return self._policy.own_kernels and spec.settings.own_kernels

    def _sized(self, spec: ModelSpec, rough: Ladder, budgets: Sequence[int]) -> Ladder:
        """With exact sizes where they are likely to be needed: at the rungs that would be taken with what is
        free now, with all that others could give back, and with `budgets`.
        """
        exact: dict[_Key, Footprint] = {}
        measured: set[_Key] = set()
        ladder = rough
        for _ in range(_ROUNDS):
            wanted = [rung for rung in self._likely(ladder, budgets) if _key(rung) not in exact]
            fresh = self._exact(spec, wanted, measured) if wanted else None
            if fresh is None:
                break
            exact |= fresh
            excess = _excess(rough, exact)
            footprints = [exact.get(_key(rung)) or _scaled(rung.footprint, excess) for rung in rough.rungs]
            ladder = resized(rough, footprints)
        rungs = [replace(rung, is_measured=_key(rung) in measured) for rung in ladder.rungs]
        return replace(ladder, rungs=tuple(rungs))

    def _corrected(self, spec: ModelSpec, ladder: Ladder) -> Ladder:
        """By what loads of this model have taken on this board."""
        if self._learned is None:
            return ladder
        model, learned = _identity(spec), self._learned
        factors = [
            learned.corrected_bytes(rung.footprint.total_bytes, model=model) / rung.footprint.total_bytes
            for rung in ladder.rungs
        ]
        footprints = [
            _scaled(rung.footprint, factor) for rung, factor in zip(ladder.rungs, factors, strict=True)
        ]
        return resized(ladder, footprints)

    def _likely(self, ladder: Ladder, budgets: Sequence[int]) -> list[Rung]:
        """The rungs that would be taken, and the next one below each."""
        now = self.budget()
        likely: list[Rung] = []
        for budget_bytes in (
            None if now is None else now.bytes,
            whole_bytes(self._read_memory()),
            *budgets,
        ):
            index = _index_of_choice(ladder, budget_bytes, parallel_share=self._policy.parallel_share)
            likely += ladder.rungs[index : index + 2]
        return list(dict.fromkeys(likely))

    def _exact(
        self, spec: ModelSpec, rungs: Sequence[Rung], measured: set[_Key]
    ) -> dict[_Key, Footprint] | None:
        """Of those that llama.cpp takes; None: nothing can be measured now, and formulas must do. Adds to
        `measured` which of them are a dry run's.
        """
        found: dict[_Key, Footprint] = {}
        for one in (spec, *spec.smaller):
            variant = None if one is spec else one.name
            own = [rung for rung in rungs if rung.variant == variant]
            if not own:
                continue
            files = _files_of(one, own_kernels=self._own_kernels(one))
            try:
                sizing = self._sizes.sizes(files, [rung.placement for rung in own])
            except (RunnerHung, RunnerStartFailed) as fault:
                _log.warning("not_sized_exactly", model=one.name, reason=fault.message)
                return None
            if sizing.source is Source.DRY_RUN:
                measured.update(map(_key, own))
            pairs = zip(own, sizing.footprints, strict=True)
            found |= {_key(rung): footprint for rung, footprint in pairs if footprint is not None}
        return found or None


def budget_of(seen: Memory, *, reserve_bytes: int) -> Budget | None:
    """None: the kernel does not say. `reserve_bytes` 0: chosen by the board's size."""
    total_bytes, limit = whole_bytes(seen), seen.limit
    if total_bytes is None or seen.available_bytes is None:
        return None
    reading = Reading(
        total_bytes=total_bytes,
        available_bytes=seen.available_bytes,
        cgroup_limit_bytes=None if limit is None else limit.limit_bytes,
        cgroup_usage_bytes=None if limit is None else limit.limit_bytes - limit.room_bytes,
    )
    return budget(reading, reserve_bytes=reserve_bytes)


def whole_bytes(seen: Memory) -> int | None:
    """What the board has for us at most: all of it, or what our cgroup allows."""
    if seen.limit is None or seen.total_bytes is None:
        return seen.total_bytes
    return min(seen.total_bytes, seen.limit.limit_bytes)


def _identity(spec: ModelSpec) -> str:
    """What was learned of a model holds for its files, under whatever name: the store's are their digests."""
    return Path(spec.path).name


def _files_of(spec: ModelSpec, *, own_kernels: bool) -> ModelFiles:
    return ModelFiles(
        model=spec.name,
        paths=tuple(Path(path) for path in spec.paths or (spec.path,)),
        draft=None if spec.draft_path is None else Path(spec.draft_path),
        adapters=tuple(Path(adapter.path) for adapter in spec.adapters),
        own_kernels=own_kernels,
        speculation=spec.settings.speculation,
    )


def _index_of_choice(ladder: Ladder, budget_bytes: int | None, *, parallel_share: float) -> int:
    """Of nothing that fits, the last; where nothing is known, the first."""
    if budget_bytes is None:
        return 0
    try:
        chosen = choose(ladder, budget_bytes=budget_bytes, parallel_share=parallel_share)
    except InsufficientMemory:
        return len(ladder.rungs) - 1
    return ladder.rungs.index(chosen.rung)


def _key(rung: Rung) -> _Key:
    return rung.variant, rung.placement


def _excess(rough: Ladder, exact: dict[_Key, Footprint]) -> float:
    """By how much the formulas are too small, at most, where both are known; at least 1."""
    return max(
        (
            exact[_key(rung)].total_bytes / rung.footprint.total_bytes
            for rung in rough.rungs
            if _key(rung) in exact
        ),
        default=1.0,
    )


def _scaled(footprint: Footprint, factor: float) -> Footprint:
    if factor <= 1.0:
        return footprint
    more = ceil(footprint.total_bytes * (factor - 1.0))
    return structs.replace(footprint, process_bytes=footprint.process_bytes + more)
