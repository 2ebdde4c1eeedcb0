"""A load that the GPU's driver has refused memory for: reclaim once, try once one rung lower, then refuse.

load failed ─► refused memory? ─no─► its own fault
                    │yes
               tried before? ─yes─► InsufficientMemory, with its reason
                    │no
               a lower rung? ─no──► InsufficientMemory
                    │yes
               reclaim and plan anew (the planning thread) ─► a rung below the failed one ─► load
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from appliance.errors import InsufficientMemory, OutpostError
from appliance.log import logger
from appliance.planner.facts import Ladder, Rung
from appliance.supervisor.allocation import RefusedBy, below, shortage
from appliance.supervisor.desk import Desk
from appliance.supervisor.effects import R

_log = logger("supervisor")

Verdict = Union[OutpostError, None]
"""How the load has ended; None: it is to be tried again, below the rung that was refused."""


class Retrying:
    """Owned by the supervisor thread."""

    def __init__(self, budget_bytes: Callable[[], int | None]) -> None:
        self._budget_bytes = budget_bytes
        self._ladders: dict[int, Ladder] = {}
        """By desk: what its load was chosen from."""
        self._failed: dict[int, Rung] = {}
        """By desk: the rung that was refused, while the second try is under way."""

    def verdict(self, desk: Desk[R], rung: Rung, refused: RefusedBy | None, fault: OutpostError) -> Verdict:
        """Of a load that ended with `fault`."""
        ladder = self._ladders.get(desk.number)
        if refused is None or ladder is None:
            return fault
        if desk.number not in self._failed and desk.wants_to_start and below(ladder, rung) is not None:
            self._failed[desk.number] = rung
            _log.warning("load_refused_memory", runner=desk.spec.name, by=refused, error=fault.message)
            return None
        needed_bytes, free_bytes = rung.footprint.total_bytes, self._budget_bytes()
        reason = shortage(refused, planned_bytes=needed_bytes, free_bytes=free_bytes)
        _log.error("load_out_of_memory", runner=desk.spec.name, reason=reason, error=fault.message)
        return InsufficientMemory(
            model=desk.spec.name,
            needed_bytes=needed_bytes,
            available_bytes=free_bytes or 0,
            reason=reason,
        )

    def ladder(self, desk: Desk[R], planned: Ladder) -> Ladder:
        """What may be taken of a ladder: of the second try, what is below the first."""
        failed = self._failed.get(desk.number)
        ladder = planned if failed is None else below(planned, failed) or _leanest(planned)
        self._ladders[desk.number] = ladder
        return ladder

    def forget(self, desk: Desk[R]) -> None:
        """Its next load is a first try."""
        self._failed.pop(desk.number, None)
        self._ladders.pop(desk.number, None)


def _leanest(planned: Ladder) -> Ladder:
    """Planned anew, nothing is smaller than what was refused: the smallest of all is tried."""
    least = min(planned.rungs, key=lambda rung: rung.footprint.total_bytes)
    return Ladder(
        model=planned.model,
        min_ctx=planned.min_ctx,
        rungs=(least,),
        comfortable=max(planned.comfortable, least.placement.n_seq_max),
        below=planned.below,
    )
