"""`outpost stop`: put models out of memory. What runs is let finish; the next request loads them again."""

from __future__ import annotations

import argparse
import json

from appliance.cli.connect import client_of
from appliance.cli.exits import Exit
from appliance.cli.terminal import printable


def main(arguments: argparse.Namespace) -> int:
    """In order, up to the first that is not known."""
    client = client_of(arguments)
    for name in arguments.models:
        told = client.post("/outpost/v1/unload", {"model": name}).body
        shown = _shown(str(told.get("model")), str(told.get("state")))
        print(json.dumps(told) if arguments.json else printable(shown), flush=True)
    return Exit.OK


def _shown(model: str, state: str) -> str:
    """`state`: as it was when the wish came."""
    if state in {"ready", "draining", "stopping"}:
        return f"{model} leaves memory when its running requests have ended"
    return f"{model} was not in memory ({state})"
