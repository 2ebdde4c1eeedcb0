"""`outpost export`: a stored model into a directory or a tar that any OCI tool reads."""

from __future__ import annotations

import argparse

from appliance.cli.exits import Exit
from appliance.cli.store_door import absolute, opened, shown
from appliance.store.operations import Export


def main(arguments: argparse.Namespace) -> int:
    with opened(arguments) as door:
        operation = Export(name=arguments.name, path=absolute(door, arguments.path))
        shown(door, operation, as_json=arguments.json)
    return Exit.OK
