"""`outpost rm`: take names away; `gc` frees what no other model shares."""

from __future__ import annotations

import argparse
import json

from appliance.cli.exits import Exit
from appliance.cli.store_door import opened
from appliance.cli.terminal import printable
from appliance.store.operations import Remove


def main(arguments: argparse.Namespace) -> int:
    """In order, up to the first that cannot be removed."""
    with opened(arguments) as door:
        for name in arguments.names:
            door.perform(Remove(name=name), lambda _: None)
            told = json.dumps({"deleted": name}) if arguments.json else printable(f"deleted '{name}'")
            print(told, flush=True)
    return Exit.OK
