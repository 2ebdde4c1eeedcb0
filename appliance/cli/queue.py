"""`outpost queue`: who waits for a model, and where he stands, from `/v1/queue`."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.connect import client_of
from appliance.cli.exits import Exit

HEADER: Final = ("ID", "MODEL", "CLASS", "POSITION", "WAITED", "ETA", "DEADLINE", "KEY")
_NOTHING: Final = "-"


def main(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    told = client.get("/v1/queue").body.get("data")
    items = [item for item in told if isinstance(item, dict)] if isinstance(told, list) else []
    if arguments.json:
        print(json.dumps({"url": client.target.url, "waiting": items}, ensure_ascii=False))
    elif items:
        print(table(items))
    else:
        print("nobody waits")
    return Exit.OK


def table(items: list[dict[str, Any]]) -> str:
    """One row each, in the order of the server."""
    return terminal.table(HEADER, [_cells(item) for item in items])


def _cells(item: dict[str, Any]) -> tuple[str, ...]:
    aged = " (aged)" if item.get("aged") else ""
    return (
        _text(item.get("id")),
        _text(item.get("model")),
        f"{_text(item.get('priority'))}{aged}",
        _text(item.get("position")),
        _seconds(item.get("waited_s")),
        _seconds(item.get("eta_s")),
        _seconds(item.get("deadline_in_s")),
        _text(item.get("owner")),
    )


def _text(value: object) -> str:
    return _NOTHING if value is None else terminal.printable(str(value))


def _seconds(value: object) -> str:
    return terminal.duration(max(0.0, value)) if isinstance(value, (int, float)) else _NOTHING
