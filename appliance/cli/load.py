"""`outpost load`: bring a model into memory before anybody asks it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from appliance.cli.connect import client_of
from appliance.cli.exits import Exit
from appliance.cli.terminal import printable


def main(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    body: dict[str, Any] = {"model": arguments.model}
    if arguments.keep_alive is not None:
        body["keep_alive"] = arguments.keep_alive
    told = client.post("/outpost/v1/load", body).body
    print(json.dumps(told) if arguments.json else printable(f"{told.get('model')} is in memory"))
    return Exit.OK
