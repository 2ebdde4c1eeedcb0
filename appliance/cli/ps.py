"""`outpost ps`: the models of a daemon and what they do, from `/v1/models` and `/healthz`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from appliance.cli import terminal
from appliance.cli.client import Client
from appliance.cli.connect import cards, client_of
from appliance.cli.cooling import cooling_line
from appliance.cli.exits import GET_A_MODEL, Exit, Failure
from appliance.cli.layouts import about_layout

Value = TypeVar("Value")

_NOTHING: Final = "-"
HEADER: Final = (
    "NAME",
    "STATE",
    "SIZE",
    "MEMORY",
    "RUNNING",
    "CONTEXT",
    "TOK/S",
    "J/TOK",
    "UPTIME",
    "UNTIL",
    "DEVICE",
    "SANDBOX",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model. None: the server does not tell (yet)."""

    name: str
    state: str | None
    loading_progress: float | None
    """0 to 1 while it loads."""
    size_bytes: int | None
    """Of the file."""
    rss_bytes: int | None
    """Of its runner."""
    running: int | None
    waiting: int | None
    waiting_background: int | None
    """Of those that wait."""
    slots: int | None
    context_tokens: int | None
    tokens_per_s: float | None
    joules_per_token: float | None
    """As measured; no server estimates it."""
    uptime_s: float | None
    device: str | None
    sandbox: str | None
    reason: str | None
    optimized: str | None = None
    """Which variant of the model's weights is served, or why the measured one is not."""
    hint: str | None = None
    planned_bytes: int | None = None
    """What its placement may take at its peak."""
    measured_bytes: int | None = None
    """What its load took."""
    is_pinned: bool | None = None
    expires_in_s: float | None = None
    """Until idleness puts it out of memory."""
    gpu_layers: int | None = None
    layers: int | None = None
    cache_types: tuple[str | None, str | None] = (None, None)
    """Of keys and values."""
    kernels: str | None = None
    conceded: tuple[dict[str, Any], ...] = ()
    """What its placement gives up, so that it fits: what, wanted, got."""
    variant: str | None = None
    """The smaller model that stands in, for the same reason."""
    alarm: str | None = None
    """Why it does not run where it was to."""
    degraded: str | None = None
    """Why it is much slower than it usually is."""
    calibrated: str | None = None
    """What was measured of it on this board, or why that is not used."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def main(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    if arguments.json:
        models, report = asked(client)
        daemon = {
            "url": client.target.url,
            "version": report.get("version"),
            "uptime_s": report.get("uptime_s"),
            "cooling": report.get("cooling"),
        }
        print(json.dumps({**daemon, "models": [row.as_json() for row in rows(models, report)]}))
    else:
        print(listing(client))
    return Exit.OK


def listing(client: Client) -> str:
    """The table; columns of which the server tells nothing are left out."""
    models, report = asked(client)
    listed = rows(models, report)
    if not listed:
        return f"{client.target.url} has no model; {GET_A_MODEL}"
    columns = list(zip(HEADER, *(cells(row) for row in listed), strict=True))
    shown = [column for column in columns if any(cell != _NOTHING for cell in column[1:])]
    header, *lines = zip(*shown, strict=True)
    reasons = [terminal.printable(f"{row.name}: {row.reason}") for row in listed if row.reason]
    heat = [line] if (line := cooling_line(report)) is not None else []
    layouts = [line for row in listed for line in about_layout(row.name, row.optimized, row.hint)]
    placements = [line for row in listed for line in about_placement(row)]
    boards = [terminal.printable(f"{row.name}: {row.calibrated}") for row in listed if row.calibrated]
    return "\n".join([terminal.table(header, lines), *reasons, *placements, *layouts, *boards, *heat])


def asked(client: Client) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The list of models and the health report, which is empty where the server has none."""
    models = cards(client)
    try:
        return models, client.get("/healthz", accept=(200, 503)).body
    except Failure as failure:
        if failure.exit_code not in {Exit.PROTOCOL, Exit.NOT_ALLOWED}:
            raise
        return models, {}  # a server of another make, or one that tells this key no more


def rows(models: list[dict[str, Any]], report: dict[str, Any]) -> list[Row]:
    """Join `/v1/models` with what the report tells of each runner. Other servers tell names only."""
    runners = _by_model(report.get("runners"))
    cooling = report.get("cooling")
    energy = _by_model(cooling.get("energy") if isinstance(cooling, dict) else None)
    return [_row(model, {**energy.get(model["id"], {}), **runners.get(model["id"], {})}) for model in models]


def _by_model(entries: object) -> dict[str, dict[str, Any]]:
    listed = entries if isinstance(entries, list) else []
    return {entry["model"]: entry for entry in listed if isinstance(entry, dict) and "model" in entry}


def _row(model: dict[str, Any], runner: dict[str, Any]) -> Row:
    meta = model.get("meta") or {}
    return Row(
        name=model["id"],
        state=model.get("state"),
        loading_progress=runner.get("loading_progress"),
        size_bytes=meta.get("size"),
        rss_bytes=runner.get("rss_bytes"),
        running=runner.get("running"),
        waiting=runner.get("waiting"),
        waiting_background=runner.get("waiting_background"),
        slots=runner.get("n_seq_max"),
        context_tokens=meta.get("n_ctx"),
        tokens_per_s=runner.get("tokens_per_s"),
        joules_per_token=runner.get("joules_per_token"),
        uptime_s=runner.get("uptime_s"),
        device=runner.get("device"),
        sandbox=runner.get("sandbox_level"),
        reason=model.get("reason"),
        optimized=runner.get("optimized"),
        hint=runner.get("hint"),
        planned_bytes=runner.get("planned_bytes"),
        measured_bytes=runner.get("measured_bytes"),
        is_pinned=runner.get("is_pinned"),
        expires_in_s=runner.get("expires_in_s"),
        gpu_layers=runner.get("n_gpu_layers"),
        layers=runner.get("n_layers"),
        cache_types=(runner.get("type_k"), runner.get("type_v")),
        kernels=runner.get("kernels"),
        conceded=tuple(one for one in runner.get("conceded") or () if isinstance(one, dict)),
        variant=runner.get("variant"),
        alarm=runner.get("alarm"),
        degraded=runner.get("degraded"),
        calibrated=runner.get("calibrated"),
    )


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        _state(row),
        _told(row.size_bytes, terminal.size),
        _memory(row),
        _running(row),
        _told(row.context_tokens, str),
        _told(row.tokens_per_s, "{:.1f}".format),
        _told(row.joules_per_token, "{:.2f}".format),
        _told(row.uptime_s, terminal.duration),
        _until(row),
        _told(row.device, str),
        _told(row.sandbox, str),
    )


def _told(value: Value | None, shown: Callable[[Value], str]) -> str:
    return _NOTHING if value is None else shown(value)


def _state(row: Row) -> str:
    if row.state is None:
        return _NOTHING
    return f"{row.state} {row.loading_progress:.0%}" if row.loading_progress else row.state


def _memory(row: Row) -> str:
    """`1.2 GB/1.4 GB`: what its runner holds, of what was planned for it."""
    if row.rss_bytes is None or row.planned_bytes is None:
        return _told(row.rss_bytes, terminal.size)
    return f"{terminal.size(row.rss_bytes)}/{terminal.size(row.planned_bytes)}"


def _until(row: Row) -> str:
    """When it leaves memory by itself."""
    if row.is_pinned is None or row.uptime_s is None:
        return _NOTHING
    if row.is_pinned:
        return "pinned"
    if row.expires_in_s is not None:
        return terminal.duration(row.expires_in_s)
    return "in use" if row.running else "memory is short"


def about_placement(row: Row) -> list[str]:
    """What it gave up, and what is wrong."""
    told = [
        f"{row.name}: {one.get('what')} {one.get('wanted')} -> {one.get('got')} to fit memory"
        for one in row.conceded
    ]
    if row.variant is not None:
        told.append(f"{row.name}: answered by {row.variant} to fit memory")
    told += [f"{row.name} {wrong}" for wrong in (row.alarm, row.degraded) if wrong is not None]
    return [terminal.printable(line) for line in told]


def _running(row: Row) -> str:
    """`3/64 +2`: three sequences of 64 run, two requests wait; `+2+5bg`: and five of the class background."""
    if row.running is None:
        return _NOTHING
    slots = f"/{row.slots}" if row.slots is not None else ""
    background = row.waiting_background or 0
    realtime = (row.waiting or 0) - background
    waiting = (f"+{realtime}" if realtime else "") + (f"+{background}bg" if background else "")
    return f"{row.running}{slots} {waiting}".rstrip()
