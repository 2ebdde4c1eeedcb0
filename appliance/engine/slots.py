"""How many slots a context gets when the placement leaves it open: a pure decision, until a planner makes it.

A slot reserves `n_ctx_seq` cells. Untouched cells cost nothing (`llama/lazy_clear.py`), but all may be
touched one day, so their sum stays under a share of the memory that is available now.
"""

from __future__ import annotations

_SHARE = 0.5
_UNKNOWN_SLOTS = 8


def choose_slots(
    *, wanted: int, n_ctx_seq: int, kv_cells: int, bytes_per_cell: int, available_bytes: int | None
) -> int:
    """At least 1, at most `wanted`. `kv_cells`: a bound on all slots' cells, 0: chosen by `available_bytes`
    (None: unknown).
    """
    if kv_cells:
        return max(1, min(wanted, kv_cells // n_ctx_seq))
    if available_bytes is None:
        return max(1, min(wanted, _UNKNOWN_SLOTS))
    affordable = int(available_bytes * _SHARE) // max(1, bytes_per_cell * n_ctx_seq)
    return max(1, min(wanted, affordable))
