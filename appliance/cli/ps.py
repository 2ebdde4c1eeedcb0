"""`outpost ps`: the models of a daemon and what they do, from `/v1/models` and `/healthz`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.client import Client
from appliance.cli.connect import cards, client_of
from appliance.cli.exits import Exit, Failure

HEADER: Final = ("NAME", "STATE", "SIZE", "MEMORY", "RUNNING", "CONTEXT", "TOK/S", "UPTIME", "SANDBOX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model. None: the server does not tell (yet)."""

    name: str
    state: str | None
    size_bytes: int | None
    """Of the file."""
    rss_bytes: int | None
    """Of its runner."""
    running: int | None
    waiting: int | None
    slots: int | None
    context_tokens: int | None
    tokens_per_s: float | None
    uptime_s: float | None
    sandbox: str | None
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def main(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    if arguments.json:
        print(json.dumps({"url": client.target.url, "models": [row.as_json() for row in rows_of(client)]}))
    else:
        print(listing(client))
    return Exit.OK


def listing(client: Client) -> str:
    rows = rows_of(client)
    if not rows:
        return f"{client.target.url} has no model; start it with --model NAME=FILE.gguf"
    reasons = [terminal.printable(f"{row.name}: {row.reason}") for row in rows if row.reason]
    return "\n".join([terminal.table(HEADER, [cells(row) for row in rows]), *reasons])


def rows_of(client: Client) -> list[Row]:
    models = cards(client)
    try:
        report = client.get("/healthz").body
    except Failure as failure:
        if failure.exit_code not in {Exit.PROTOCOL, Exit.NOT_ALLOWED}:
            raise
        report = {}  # a server of another make, or one that tells this key no more
    return rows(models, report)


def rows(models: list[dict[str, Any]], report: dict[str, Any]) -> list[Row]:
    """Join `/v1/models` with what the report tells of each runner. Other servers tell names only."""
    runners = _by_name(report.get("runners"))
    return [_row(model, runners.get(model["id"], {})) for model in models]


def _by_name(entries: object) -> dict[str, dict[str, Any]]:
    listed = entries if isinstance(entries, list) else []
    return {entry["name"]: entry for entry in listed if isinstance(entry, dict) and "name" in entry}


def _row(model: dict[str, Any], runner: dict[str, Any]) -> Row:
    meta = model.get("meta") or {}
    return Row(
        name=model["id"],
        state=model.get("state"),
        size_bytes=meta.get("size"),
        rss_bytes=runner.get("rss_bytes"),
        running=runner.get("running"),
        waiting=runner.get("waiting"),
        slots=(runner.get("facts") or {}).get("n_seq_max"),
        context_tokens=meta.get("n_ctx"),
        tokens_per_s=runner.get("tokens_per_s"),
        uptime_s=runner.get("uptime_s"),
        sandbox=(runner.get("sandbox") or {}).get("level"),
        reason=model.get("reason"),
    )


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.state or "-",
        "-" if row.size_bytes is None else terminal.size(row.size_bytes),
        "-" if row.rss_bytes is None else terminal.size(row.rss_bytes),
        _running(row),
        "-" if row.context_tokens is None else str(row.context_tokens),
        "-" if row.tokens_per_s is None else f"{row.tokens_per_s:.1f}",
        "-" if row.uptime_s is None else terminal.duration(row.uptime_s),
        row.sandbox or "-",
    )


def _running(row: Row) -> str:
    """`3/64 +2`: three sequences of 64 run, two requests wait."""
    if row.running is None:
        return "-"
    slots = f"/{row.slots}" if row.slots is not None else ""
    return f"{row.running}{slots}" + (f" +{row.waiting}" if row.waiting else "")
