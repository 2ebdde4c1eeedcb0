"""On which cores a model is computed, from its placement and the board."""

from __future__ import annotations

from appliance.engine.threads import choose_threads
from appliance.hardware import cpu
from appliance.wire.messages import Placement


def compute_cores(placement: Placement) -> tuple[int, frozenset[int]]:
    """How many threads, and the cores they are bound to (none: all are alike)."""
    board = cpu.read()
    big = frozenset(board.big_cores)
    n_threads = placement.n_threads or choose_threads(
        usable_cores=board.usable_big_cores, big_cores=len(big), all_cores=len(board.cores)
    )
    return n_threads, big if len(big) < len(board.cores) else frozenset()
