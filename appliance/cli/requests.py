"""`outpost requests`: what is at work or waits, from `/outpost/v1/requests`."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.connect import client_of
from appliance.cli.exits import Exit

HEADER: Final = ("ID", "MODEL", "STATE", "AGE", "TOKENS", "ROUTE", "KEY")
_NOTHING: Final = "-"


def main(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    told = client.get("/outpost/v1/requests").body.get("data")
    items = [item for item in told if isinstance(item, dict)] if isinstance(told, list) else []
    if arguments.json:
        print(json.dumps({"url": client.target.url, "requests": items}, ensure_ascii=False))
    elif items:
        print(terminal.table(HEADER, [_cells(item) for item in items]))
    else:
        print("nothing runs or waits")
    return Exit.OK


def _cells(item: dict[str, Any]) -> tuple[str, ...]:
    age_s = item.get("age_s")
    return (
        _text(item.get("id")),
        _text(item.get("model")),
        _text(item.get("state")),
        terminal.duration(max(0.0, age_s)) if isinstance(age_s, (int, float)) else _NOTHING,
        _text(item.get("output_tokens")),
        _text(item.get("route")),
        _text(item.get("owner")),
    )


def _text(value: object) -> str:
    return _NOTHING if value is None else terminal.printable(str(value))
