"""`outpost optimize`: serve a model in a type of weights that is faster on this chip, or tell why not."""

from __future__ import annotations

import argparse
from typing import Any, Final

from appliance.cli.exits import Exit, Failure, adding
from appliance.cli.store_door import performed
from appliance.cli.terminal import printable, size, table
from appliance.store.operations import Optimize

Json = dict[str, Any]

_NOTHING: Final = "-"
_OF_THE_STORE: Final = "only models of the store have variants: import one that is served from a file"
_NOISY_SHARE: Final = 0.2


def main(arguments: argparse.Namespace) -> int:
    """0 whether something is kept or not: both are answers."""
    if arguments.undo and (arguments.dry_run or arguments.candidates or arguments.kl is not None):
        raise Failure(
            Exit.USAGE,
            "--undo goes back to the original: --kl, --candidates and --dry-run say nothing to it",
            code="usage",
        )
    asked = Optimize(
        name=arguments.name,
        max_kl=arguments.kl,
        dry_run=arguments.dry_run,
        candidates=tuple(arguments.candidates),
        undo=arguments.undo,
    )
    with adding(_OF_THE_STORE, to="model_not_found"):
        outcome = performed(arguments, asked)
    if not arguments.json:
        print(_undone(outcome) if arguments.undo else told(outcome))
    return Exit.OK


def told(outcome: Json) -> str:
    """The table, and what follows from it."""
    record: Json = outcome.get("optimization") or {}
    tried: list[Json] = record.get("tried") or []
    lines = []
    if tried:
        widths = sorted({int(width) for one in tried for width in _decode(one.get("original"))})
        header = ["TYPE", "SIZE", "PREFILL", *(f"DECODE {width}" for width in widths), "KL", "PPL", "VERDICT"]
        rows = [row for one in tried for row in _pair(record, one, widths)]
        lines = [
            table(header, rows),
            "speed in tokens per second, of all sequences together; ratios to the original",
        ]
    return "\n".join(
        [
            *lines,
            *_noise(tried),
            *(printable(f"{one['kind']}: {one['text']}") for one in tried),
            _end(outcome, record),
        ]
    )


def _noise(tried: list[Json]) -> list[str]:
    shares = [float(share) for one in tried if isinstance(share := one.get("others_share"), int | float)]
    worst = max(shares, default=0.0)
    if worst < _NOISY_SHARE:
        return []
    return [f"others computed up to {worst:.0%} of the time meanwhile: measure again when the board is quiet"]


def _pair(record: Json, one: Json, widths: list[int]) -> list[list[str]]:
    """The original as it was measured in turn with a candidate, and that candidate."""
    divergence: Json = one.get("divergence") or {}
    original = [
        str(record.get("original")),
        size(int(record.get("original_bytes") or 0)),
        *_speeds(one.get("original"), None, widths),
        _NOTHING,
        _number(divergence.get("original_perplexity"), "{:.2f}"),
        "original",
    ]
    candidate = [
        str(one.get("kind")),
        size(int(one.get("size_bytes") or 0)),
        *_speeds(one.get("candidate"), one.get("original"), widths),
        _number(divergence.get("mean"), "{:.4f}"),
        _number(divergence.get("candidate_perplexity"), "{:.2f}"),
        str(one.get("reason")).replace("_", " "),
    ]
    return [original, candidate] if one.get("original") else [candidate]


def _speeds(figures: Json | None, against: Json | None, widths: list[int]) -> list[str]:
    """`351 (2.1x)`; against None: no ratios."""
    pairs = [("prefill_per_s", None), *(("decode_per_s", str(width)) for width in widths)]
    cells = []
    for name, width in pairs:
        mine, theirs = _at(figures, name, width), _at(against, name, width)
        ratio = f" ({mine / theirs:.2f}x)" if mine is not None and theirs else ""
        cells.append(_number(mine, "{:.4g}") + ratio)
    return cells


def _at(figures: Json | None, name: str, width: str | None) -> float | None:
    found = (figures or {}).get(name)
    value = found.get(width) if width is not None and isinstance(found, dict) else found
    return float(value) if isinstance(value, int | float) else None


def _decode(figures: Json | None) -> Json:
    found = (figures or {}).get("decode_per_s")
    return found if isinstance(found, dict) else {}


def _number(value: object, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else _NOTHING


def _end(outcome: Json, record: Json) -> str:
    name, kept = outcome.get("name"), record.get("kept")
    if outcome.get("dry_run"):
        return printable(f"nothing is kept: a dry run; {kept or 'the original'} would be served")
    if kept:
        return printable(
            f"{name} is served as {record.get('sentence')}; back with: outpost optimize {name} --undo"
        )
    why = "" if record.get("tried") else f": {record.get('sentence')}"
    return printable(f"{name} stays as it is{why}")


def _undone(outcome: Json) -> str:
    name = outcome.get("name")
    if outcome.get("undone"):
        return printable(f"{name} is served as it came; the room of its variant comes back with the next gc")
    return printable(f"{name} was served as it came: there is nothing to undo")
