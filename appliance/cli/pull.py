"""`outpost pull`: a model from a registry, a hub or a URL."""

from __future__ import annotations

import argparse

from appliance.cli.exits import Exit
from appliance.cli.store_door import performed
from appliance.store.operations import Pull


def main(arguments: argparse.Namespace) -> int:
    performed(arguments, Pull(name=arguments.name, as_name=arguments.as_name))
    return Exit.OK
