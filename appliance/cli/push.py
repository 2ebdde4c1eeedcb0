"""`outpost push`: a stored model to a registry."""

from __future__ import annotations

import argparse

from appliance.cli.exits import Exit
from appliance.cli.store_door import performed
from appliance.store.operations import Push


def main(arguments: argparse.Namespace) -> int:
    performed(arguments, Push(name=arguments.name, target=arguments.target))
    return Exit.OK
