"""`outpost ps`: the models of a daemon and what they do, from `/v1/models` and `/healthz`."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.client import Client
from appliance.cli.connect import cards, client_of
from appliance.cli.exits import Exit

HEADER: Final = ("NAME", "STATE", "SIZE", "RUNNING", "CONTEXT", "TOK/S", "UPTIME", "SANDBOX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model. None: the server does not tell (yet)."""

    name: str
    state: str | None
    size_bytes: int | None
    running: int | None
    waiting: int | None
    slots: int | None
    context_tokens: int | None
    tokens_per_s: float | None
    uptime_s: float | None
    sandbox: str | None
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


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
    report = client.get("/healthz", accept=(200, 401, 403, 404, 503)).body
    return rows(cards(client), report)


def rows(models: list[dict[str, Any]], report: dict[str, Any]) -> list[Row]:
    """Join `/v1/models` with the report's part on each model. Other servers tell names only."""
    entries = report.get("models")
    by_name = (
        {entry.get("name"): entry for entry in entries if isinstance(entry, dict)}
        if isinstance(entries, list)
        else {}
    )
    return [_row(model, by_name.get(model["id"], {})) for model in models]


def _row(model: dict[str, Any], entry: dict[str, Any]) -> Row:
    told = {**model, **entry}
    sandbox = told.get("sandbox")
    return Row(
        name=model["id"],
        state=told.get("state"),
        size_bytes=told.get("size_bytes"),
        running=told.get("running"),
        waiting=told.get("waiting"),
        slots=told.get("n_seq_max"),
        context_tokens=told.get("n_ctx_seq"),
        tokens_per_s=told.get("tokens_per_s"),
        uptime_s=told.get("uptime_s"),
        sandbox=sandbox.get("level") if isinstance(sandbox, dict) else sandbox,
        reason=told.get("reason"),
    )


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.state or "-",
        "-" if row.size_bytes is None else terminal.size(row.size_bytes),
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
