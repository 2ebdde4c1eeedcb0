"""`outpost cancel`: end requests by their ids, through `/outpost/v1/requests`."""

from __future__ import annotations

import argparse
import json
from urllib.parse import quote

from appliance.cli.connect import client_of
from appliance.cli.exits import Exit
from appliance.cli.terminal import printable


def main(arguments: argparse.Namespace) -> int:
    """In order, up to the first that is not known."""
    client = client_of(arguments)
    for request_id in arguments.ids:
        told = client.post(f"/outpost/v1/requests/{quote(request_id, safe='')}/cancel", {}).body
        count = told.get("cancelled")
        shown = f"{request_id} is cancelled" if count == 1 else f"{count} requests {request_id} are cancelled"
        print(json.dumps(told) if arguments.json else printable(shown), flush=True)
    return Exit.OK
