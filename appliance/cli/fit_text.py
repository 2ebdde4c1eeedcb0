"""How `outpost fit` tells its answer: for eyes, and as plain objects. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import msgspec

from appliance.cli.terminal import size
from appliance.planner.budget import Budget
from appliance.planner.facts import Conceded, Concession, Rung
from appliance.planner.fit import Fit, Machine, Subject

_WIDTH: Final = 12
_GIVEN_UP: Final = {
    Concession.PARALLEL: "requests at once",
    Concession.CONTEXT: "tokens of context",
    Concession.CACHE_TYPE: "KV cache",
    Concession.UBATCH: "ubatch",
    Concession.PROJECTOR: "projector",
    Concession.GPU_LAYERS: "layers on the GPU",
    Concession.VARIANT: "model",
}


def shown(subject: Subject, machine: Machine, answer: Fit, *, took_s: float) -> str:
    where = "here" if machine.name is None else f"on {machine.name}"
    rung = answer.rung or answer.least
    lines = [f"{subject.name} {_verdict(answer)} {where}", ""]
    lines += [_row(*part) for part in _parts(rung)]
    lines += [_row("budget", size(machine.budget.bytes), _budget_text(machine.budget)), ""]
    lines += [_row("gives up", "", text) for text in _concessions(rung)]
    if answer.tokens_per_s is not None and machine.bandwidth_bytes_per_s:
        lines.append(_row("speed", "", _speed(subject, machine.bandwidth_bytes_per_s, answer.tokens_per_s)))
    lines.append(_row("sizes from", "", f"{subject.origin} ({took_s * 1000:.0f} ms)"))
    lines += [_row("note", "", note) for note in subject.notes]
    return "\n".join(lines)


def rung_object(rung: Rung) -> dict[str, Any]:
    return {
        "placement": msgspec.structs.asdict(rung.placement),
        "footprint": asdict(rung.footprint) | {"total_bytes": rung.footprint.total_bytes},
        "conceded": [asdict(one) for one in rung.conceded],
        "worth": round(rung.worth, 4),
        "variant": rung.variant,
    }


def plain(budget: Budget) -> dict[str, Any]:
    return asdict(budget)


def _verdict(answer: Fit) -> str:
    if answer.rung is None:
        return "does not fit; the least that is asked for"
    return "fits, with concessions," if answer.rung.conceded else "fits"


def _parts(rung: Rung) -> list[tuple[str, str, str]]:
    placement, taken = rung.placement, rung.footprint
    cache = (
        placement.type_k if placement.type_k == placement.type_v else f"{placement.type_k}/{placement.type_v}"
    )
    parts = [
        ("weights", taken.weights_bytes, ""),
        ("mapped file", taken.mapped_bytes, "resident beside the weights"),
        (
            "KV cache",
            taken.cache_bytes,
            f"{placement.n_ctx_seq} tokens x {placement.n_seq_max} at once, {cache}, when all are used",
        ),
        ("compute", taken.compute_bytes, f"ubatch {placement.n_ubatch}"),
        ("logits", taken.output_bytes, ""),
        ("process", taken.process_bytes, ""),
        ("total", taken.total_bytes, ""),
    ]
    return [(name, size(value), text) for name, value, text in parts if value]


def _concessions(rung: Rung) -> list[str]:
    return [_given_up(one) for one in rung.conceded] or ["nothing"]


def _given_up(one: Conceded) -> str:
    return f"{_GIVEN_UP[one.what]}: {one.got} instead of {one.wanted} ({_price(one.price)})"


def _price(worth: float) -> str:
    percent = round(100 * (1 - worth))
    return f"costs {percent} %" if percent else "costs nothing"


def _budget_text(budget: Budget) -> str:
    return (
        f"{budget.bound} {size(budget.available_bytes)} less {size(budget.reserve_bytes)} that stay free "
        f"for others, of {size(budget.total_bytes)}"
    )


def _speed(subject: Subject, bandwidth: int, tokens_per_s: float) -> str:
    return (
        f"at most {tokens_per_s:.1f} tokens/s: each reads {size(subject.read_bytes)} at {size(bandwidth)}/s"
    )


def _row(name: str, value: str, text: str) -> str:
    return f"  {name:<{_WIDTH}}{value:>9}  {text}".rstrip()
