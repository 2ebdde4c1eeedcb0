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
