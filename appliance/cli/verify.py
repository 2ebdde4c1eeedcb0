"""`outpost verify`: read what is stored and compare it with its digests."""

from __future__ import annotations

import argparse
from typing import Any

from appliance.cli.exits import Exit
from appliance.cli.store_door import performed
from appliance.cli.terminal import printable, size
from appliance.store.operations import Verify


def main(arguments: argparse.Namespace) -> int:
    """65 when anything is broken."""
    outcome = performed(arguments, Verify(name=arguments.name), worded=_as_one_step)
    broken: list[dict[str, Any]] = outcome.get("broken", [])
    if not arguments.json:
        print(f"{outcome.get('blobs', 0)} blobs, {size(int(outcome.get('size_bytes', 0)))} read")
        for fault in broken:
            print(printable(f"{fault.get('what')}: {fault.get('reason')}"))
        if broken:
            print("what is broken is in quarantine and is not served; pull or import it again to repair it")
    return Exit.DATA if broken else Exit.OK


def _as_one_step(told: dict[str, Any]) -> dict[str, Any]:
    """Its amounts are of all blobs together, so it is one bar and not one a blob."""
    return {key: value for key, value in told.items() if key != "digest"} | {"status": "verifying"}
