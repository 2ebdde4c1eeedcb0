"""How `outpost fit` tells its answer for eyes, whoever gave it: from the object of `POST /outpost/v1/fit`.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from appliance.cli.terminal import size

_WIDTH: Final = 12
_GIVEN_UP: Final = {
    "parallel": "requests at once",
    "context": "tokens of context",
    "cache_type": "KV cache",
    "ubatch": "ubatch",
    "projector_on_cpu": "projector",
    "gpu_layers": "layers on the GPU",
    "variant": "model",
}
"""By `planner.facts.Concession`, without loading the planner for it; a test compares."""

Json = dict[str, Any]


def shown(told: Json, *, where: str) -> str:
    """`where`: what has been planned for, unless it is a board. Raises what a wrong object raises."""
    rung = told["plan"] or told["least"]
    board = told["board"]
    lines = [f"{told['model']} {_verdict(told, where if board is None else f'on {board}')}", ""]
    lines += [_row(*part) for part in _parts(rung)]
    lines += [_row(*part) for part in _budget(told["budget"])]
    lines += ["", *(_row(name, "", text) for name, text in _consequences(told, rung))]
    if told["tokens_per_s_bound"] is not None:
        lines.append(_row("speed", "", _speed(told)))
    lines.append(_row("sizes from", "", f"{told['origin']} ({told['took_s'] * 1000:.0f} ms)"))
    lines += [_row("note", "", note) for note in told["notes"]]
    return "\n".join(lines)


def _verdict(told: Json, where: str) -> str:
    if told["plan"] is None:
        return f"does not fit; the least that is asked for {where}"
    fits = f"fits, with concessions, {where}" if told["plan"]["conceded"] else f"fits {where}"
    if told["waits_for"]:
        return f"{fits} once busy models have ended"
    return f"{fits} once idle models have gone" if told["evicts"] else fits


def _parts(rung: Json) -> list[tuple[str, str, str]]:
    placement, taken = rung["placement"], rung["footprint"]
    parts = [
        ("weights", taken["weights_bytes"], ""),
        ("mapped file", taken["mapped_bytes"], "resident beside the weights"),
        ("KV cache", taken["cache_bytes"], f"{_cells(placement)}, when all are used"),
        ("compute", taken["compute_bytes"], f"ubatch {placement['n_ubatch']}"),
        ("logits", taken["output_bytes"], ""),
        ("copies", taken["copy_bytes"], "of slots, while a prefix is shared or slots are exchanged"),
        ("process", taken["process_bytes"], ""),
        ("total", taken["total_bytes"], ""),
    ]
    return [(name, size(value), text) for name, value, text in parts if value]


def _cells(placement: Json) -> str:
    keys, values = placement["type_k"], placement["type_v"]
    kind = keys if keys == values else f"{keys}/{values}"
    return f"{placement['n_ctx_seq']} tokens x {placement['n_seq_max']} at once, {kind}"


def _budget(budget: Json | None) -> list[tuple[str, str, str]]:
    if budget is None:
        return [("budget", "", "unknown: the kernel does not tell its memory, so everything is let in")]
    text = (
        f"{budget['bound']} {size(budget['available_bytes'])} less {size(budget['reserve_bytes'])} "
        f"that stay free for others, of {size(budget['total_bytes'])}"
    )
    if budget["owed_bytes"]:
        text += f"; less {size(budget['owed_bytes'])} promised to models in memory"
    if budget["freed_bytes"]:
        text += f"; with {size(budget['freed_bytes'])} that it or an ending model holds"
    return [("budget", size(budget["usable_bytes"]), text)]


def _consequences(told: Json, rung: Json) -> list[tuple[str, str]]:
    """For itself, and for others."""
    rows = [("gives up", text) for text in _concessions(rung["conceded"])]
    if told["evicts"]:
        rows.append(("puts out", f"{', '.join(told['evicts'])} (idle)"))
    if told["waits_for"]:
        rows.append(("waits for", f"{', '.join(told['waits_for'])} (busy)"))
    there = told["in_memory"]
    if there is not None:
        cells = "" if there["plan"] is None else f" with {_cells(there['plan']['placement'])}"
        rows.append(("now", f"{there['state']}{cells}"))
    return rows


def _concessions(conceded: Sequence[Json]) -> list[str]:
    return [_given_up(one) for one in conceded] or ["nothing"]


def _given_up(one: Json) -> str:
    what = _GIVEN_UP.get(one["what"], one["what"])
    return f"{what}: {one['got']} instead of {one['wanted']} ({_price(one['price'])})"


def _price(worth: float) -> str:
    percent = round(100 * (1 - worth))
    return f"costs {percent} %" if percent else "costs nothing"


def _speed(told: Json) -> str:
    read, bandwidth = size(told["read_bytes"]), size(told["bandwidth_bytes_per_s"])
    return f"at most {told['tokens_per_s_bound']:.1f} tokens/s: each reads {read} at {bandwidth}/s"


def _row(name: str, value: str, text: str) -> str:
    return f"  {name:<{_WIDTH}}{value:>9}  {text}".rstrip()
