"""`outpost version`."""

from __future__ import annotations

import argparse
import json
import platform

from appliance import __version__
from appliance.cli.exits import Exit


def main(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(
            json.dumps(
                {"version": __version__, "python": platform.python_version(), "machine": platform.machine()}
            )
        )
    else:
        print(f"outpost {__version__}")
    return Exit.OK
