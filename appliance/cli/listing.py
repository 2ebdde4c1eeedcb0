"""`outpost list`: the models in the store."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.exits import GET_A_MODEL, Exit
from appliance.cli.layouts import about_layout
from appliance.cli.store_door import listed

HEADER: Final = ("NAME", "ID", "SIZE", "UNIQUE", "MODIFIED")


def main(arguments: argparse.Namespace) -> int:
    models = listed(arguments, arguments.prefix)
    if arguments.json:
        print(json.dumps({"models": models}, ensure_ascii=False))
    else:
        print(table(models, now_s=time.time()))
        if not models and not arguments.prefix:
            print(f"\nthe store is empty; {GET_A_MODEL}")
    return Exit.OK


def table(models: list[dict[str, Any]], *, now_s: float) -> str:
    """One row each; what is broken has its reason below."""
    rows = [
        (
            str(model.get("name")),
            str(model.get("id")),
            terminal.size(int(model.get("size_bytes", 0))),
            terminal.size(int(model.get("unique_bytes", 0))),
            "broken" if model.get("broken") else terminal.ago(now_s - float(model.get("modified_s", now_s))),
        )
        for model in models
    ]
    reasons = [
        terminal.printable(f"{model.get('name')}: {model['broken']}")
        for model in models
        if model.get("broken")
    ]
    layouts = [
        line
        for model in models
        for line in about_layout(str(model.get("name")), model.get("optimized"), model.get("hint"))
    ]
    return "\n".join([terminal.table(HEADER, rows), *reasons, *layouts])
