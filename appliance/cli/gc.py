"""`outpost gc`: free what no model needs."""

from __future__ import annotations

import argparse
import json

from appliance.cli.exits import Exit
from appliance.cli.store_door import opened
from appliance.cli.terminal import size
from appliance.store.operations import Gc


def main(arguments: argparse.Namespace) -> int:
    with opened(arguments) as door:
        outcome = door.perform(Gc(dry_run=arguments.dry_run), lambda _: None)
    if arguments.json:
        print(json.dumps(outcome))
    else:
        done = "would free" if arguments.dry_run else "freed"
        print(f"{done} {size(int(outcome.get('size_bytes', 0)))} in {outcome.get('blobs', 0)} blobs")
    return Exit.OK
