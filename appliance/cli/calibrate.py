"""`outpost calibrate`: measure how a model is best served on this board, and tell what was found."""

from __future__ import annotations

import argparse
import signal
from types import FrameType
from typing import Any, Final

from appliance.cli.exits import Exit, Failure
from appliance.cli.store_door import performed
from appliance.cli.terminal import printable, table
from appliance.store.operations import Calibrate

Json = dict[str, Any]

_NOTHING: Final = "-"
_TESTS: Final = {"prefill": "PREFILL", "decode": "DECODE", "decode_many": "DECODE x8", "load": "LOADS/S"}


def main(arguments: argparse.Namespace) -> int:
    """0 whether something is served otherwise or not: both are answers."""
    _require_one_wish(arguments)
    asked = Calibrate(
        name=arguments.name,
        limit_s=arguments.limit,
        power_modes=arguments.power_modes,
        dry_run=arguments.dry_run,
        show=arguments.show,
        forget=arguments.forget,
    )
    # Where no daemon runs it is measured in this process: sent away, it must still put the power mode back.
    signal.signal(signal.SIGTERM, _interrupted)
    outcome = performed(arguments, asked)
    if not arguments.json:
        print(_forgotten(outcome) if arguments.forget else told(outcome))
    return Exit.OK


def told(outcome: Json) -> str:
    """The tables, and what follows from them."""
    plan = outcome.get("plan")
    if plan:
        return _plan(outcome, plan)
    record: Json | None = outcome.get("calibration")
    name = outcome.get("name")
    if record is None:
        return printable(f"{name} was not measured on this board; measure it with: outpost calibrate {name}")
    findings: Json = record.get("findings") or {}
    axes: list[Json] = findings.get("axes") or []
    stale = [printable(f"not used: {outcome['stale']}")] if outcome.get("stale") else []
    return "\n".join(
        [
            *(line for axis in axes for line in _axis(axis)),
            *_surroundings(record, findings),
            *stale,
            printable(f"{name}: {outcome.get('sentence')}"),
        ]
    )


def _axis(axis: Json) -> list[str]:
    rows: list[Json] = axis.get("rows") or []
    title, text = str(axis.get("axis")).replace("_", " "), axis.get("text")
    if not rows:
        return [printable(f"{title}: {axis.get('kept')} ({text})"), ""]
    tests = [test for test in _TESTS if any(test in (row.get("per_s") or {}) for row in rows)]
    has_joules = any(row.get("joules_per_token") for row in rows)
    header = [title.upper(), *(_TESTS[test] for test in tests), "SPREAD"]
    header += ["J/TOK", "TOK/J"] if has_joules else []
    cells = [[*_cells(row, tests, with_joules=has_joules), _verdict(axis, row)] for row in rows]
    lines = [table([*header, "VERDICT"], cells)]
    return [*lines, *([printable(text)] if text else []), ""]


def _cells(row: Json, tests: list[str], *, with_joules: bool) -> list[str]:
    speeds: Json = row.get("per_s") or {}
    spread = row.get("spread")
    found = [
        printable(str(row.get("label"))),
        *(_number(speeds.get(test), "{:.4g}") for test in tests),
        _NOTHING if not isinstance(spread, int | float) else f"{spread:.0%}",
    ]
    if with_joules:
        joules = _decode_joules(row)
        found += [_number(joules, "{:.3g}"), _number(1 / joules if joules else None, "{:.3g}")]
    return found


def _decode_joules(row: Json) -> float | None:
    """Of a token that one user waits for; where only prompts were measured, of theirs."""
    measured: Json = row.get("joules_per_token") or {}
    value = measured.get("decode", measured.get("prefill"))
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _verdict(axis: Json, row: Json) -> str:
    text = row.get("text")
    if not text:
        return ""
    return printable(f"kept: {text}" if row.get("label") == axis.get("kept") else str(text))


def _surroundings(record: Json, findings: Json) -> list[str]:
    share = findings.get("others_share")
    others = "" if share is None else f"; others computed {share:.0%} of the time of all cores"
    lines = [
        "speed in tokens per second, of all sequences together",
        printable(f"{record.get('board')}, {record.get('chip')}, {record.get('build')}"),
        f"measured {record.get('measured_at')} in {findings.get('spent_s')} s{others}",
    ]
    energy = record.get("energy")
    return [*lines, printable(f"no joules: {energy}")] if energy else lines


def _plan(outcome: Json, plan: list[Json]) -> str:
    rows = [
        [
            str(axis.get("axis")).replace("_", " "),
            printable(", ".join(axis.get("setups") or [])),
            f"{axis.get('until_s')} s",
            printable(str(axis.get("text") or "")),
        ]
        for axis in plan
    ]
    lines = [table(["MEASURED", "IN TURN", "UNTIL", ""], rows)]
    return "\n".join([*lines, printable(f"{outcome.get('name')}: nothing was measured, a dry run")])


def _forgotten(outcome: Json) -> str:
    name = outcome.get("name")
    if outcome.get("forgotten"):
        return printable(f"{name} is served by the defaults again")
    return printable(f"{name} was not measured: there is nothing to forget")


def _number(value: object, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else _NOTHING


def _require_one_wish(arguments: argparse.Namespace) -> None:
    wishes = [name for name in ("show", "forget", "dry_run") if getattr(arguments, name)]
    measuring = arguments.limit is not None or arguments.power_modes
    if len(wishes) > 1 or (measuring and {"show", "forget"} & set(wishes)):
        raise Failure(
            Exit.USAGE,
            "--show and --forget are alone: neither another wish nor --limit nor --power-modes says "
            "anything to them",
            code="usage",
        )


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
