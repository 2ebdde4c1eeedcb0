"""`outpost import`: a file, a directory or a tar becomes a stored model."""

from __future__ import annotations

import argparse

from appliance.cli.exits import Exit
from appliance.cli.store_door import absolute, opened, require, shown
from appliance.cli.terminal import printable
from appliance.store.operations import Import


def main(arguments: argparse.Namespace) -> int:
    require(arguments.path)
    with opened(arguments) as door:
        path = absolute(door, arguments.path)
        operation = Import(path=path, name=arguments.name, as_name=arguments.as_name, link=arguments.link)
        outcome = shown(door, operation, as_json=arguments.json)
    if not arguments.json:
        for name in outcome.get("names", ()):
            print(f"imported '{printable(str(name))}'")
    return Exit.OK
