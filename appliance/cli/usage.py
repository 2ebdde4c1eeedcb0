"""`outpost usage`: what was asked of which model, by which key; from the daemon, or from the file."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from appliance.cli import terminal
from appliance.cli.address import Target, discover_store, process_alive
from appliance.cli.exits import Exit

COLUMNS: Final = (
    "key",
    "model",
    "time",
    "requests",
    "errors",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "served_s",
    "joules",
)
_HEADS: Final = (
    "KEY",
    "MODEL",
    "TIME",
    "REQUESTS",
    "ERRORS",
    "PROMPT",
    "CACHED",
    "OUTPUT",
    "SERVED",
    "ENERGY",
)
_PARTS: Final = ("key", "model", "time")
_NOTHING: Final = "-"


def main(arguments: argparse.Namespace) -> int:
    rows = _rows(arguments)
    if arguments.json:
        print(json.dumps({"data": rows}, ensure_ascii=False))
    elif arguments.csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: "" if value is None else value for name, value in row.items()} for row in rows
        )
    elif rows:
        print(table(rows))
    else:
        print("nothing was asked")
    return Exit.OK


def table(rows: list[dict[str, Any]]) -> str:
    """Without columns that no row has."""
    shown = [name for name in COLUMNS if name not in _PARTS or any(name in row for row in rows)]
    heads = [_HEADS[COLUMNS.index(name)] for name in shown]
    return terminal.table(heads, [[_cell(name, row.get(name)) for name in shown] for row in rows])


def _rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found = discover_store(host=arguments.host, data=arguments.data, environ=os.environ, alive=process_alive)
    if isinstance(found, Path):
        return _from_file(found, arguments)
    return _from_daemon(found, arguments)


def _from_daemon(target: Target, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from appliance.cli.connect import client_at  # noqa: PLC0415 - HTTP, only where a daemon is asked

    told = {"by": arguments.by, "since": arguments.since, "key": arguments.key}
    query = urlencode({name: value for name, value in told.items() if value is not None})
    data = client_at(target, arguments).get(f"/outpost/v1/usage?{query}").body.get("data")
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


def _from_file(data: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from appliance.access import usage_report  # noqa: PLC0415 - only where no daemon is asked
    from appliance.cli.local_failures import failures  # noqa: PLC0415

    with failures():
        asked = usage_report.question(by=arguments.by, since=arguments.since, key=arguments.key)
        return usage_report.objects(usage_report.report(data, asked, now_s=time.time()))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return _NOTHING
    if name == "served_s" and isinstance(value, (int, float)):
        return terminal.duration(max(0.0, value))
    if name == "joules" and isinstance(value, (int, float)):
        return f"{value:.1f} J"
    return terminal.printable(str(value)) or _NOTHING
