"""`outpost cp`: a second name for a model; it costs no bytes."""

from __future__ import annotations

import argparse
import json

from appliance.cli.exits import Exit
from appliance.cli.store_door import opened
from appliance.cli.terminal import printable
from appliance.store.operations import Copy


def main(arguments: argparse.Namespace) -> int:
    source, destination = arguments.source, arguments.destination
    with opened(arguments) as door:
        door.perform(Copy(source=source, destination=destination), lambda _: None)
    if arguments.json:
        print(json.dumps({"source": source, "destination": destination}))
    else:
        print(printable(f"copied '{source}' to '{destination}'"))
    return Exit.OK
