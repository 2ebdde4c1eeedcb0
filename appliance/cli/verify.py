"""`outpost verify`: read what is stored, or a layout of others, and compare it with its digests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from appliance.cli.exits import Exit, Failure
from appliance.cli.progress import progress_on
from appliance.cli.store_door import performed, require
from appliance.cli.terminal import printable, size
from appliance.store.answers import progress_object
from appliance.store.operations import Verify

Json = dict[str, Any]


def main(arguments: argparse.Namespace) -> int:
    """65 when anything is broken."""
    if arguments.layout is not None:
        return verify_layout(arguments.layout, arguments)
    asked = Verify(name=arguments.name, rebuild_index=arguments.rebuild_index)
    outcome = performed(arguments, asked, worded=_as_one_step)
    broken: list[Json] = outcome.get("broken", [])
    if not arguments.json:
        if arguments.rebuild_index:
            print(_rebuilt(outcome.get("rebuilt")))
        print(f"{outcome.get('blobs', 0)} blobs, {size(int(outcome.get('size_bytes', 0)))} read")
        for fault in broken:
            print(printable(f"{fault.get('what')}: {fault.get('reason')}"))
        if broken:
            print("what is broken is in quarantine and is not served; pull or import it again to repair it")
    return Exit.DATA if broken else Exit.OK


def _rebuilt(names: list[str] | None) -> str:
    if names is None:
        return "the index is sound and stays as it is"
    listed = "".join(f"\n  {printable(name)}" for name in names)
    return f"the index was built again with {len(names)} names; the damaged one is in quarantine{listed}"


def verify_layout(path: Path, arguments: argparse.Namespace) -> int:
    """By this process alone: it needs no store and no daemon."""
    if arguments.host is not None or arguments.data is not None:
        raise Failure(
            Exit.USAGE,
            "--layout is read by this command itself: --host and --data say nothing to it",
            code="usage",
        )
    require(path)
    from appliance.cli.local_failures import failures  # noqa: PLC0415 - the store's parts only where needed
    from appliance.store.inspection import inspect  # noqa: PLC0415
    from appliance.store.reference import parse_reference  # noqa: PLC0415

    progress = progress_on(sys.stdout, as_json=arguments.json)
    try:
        with failures():
            name = None if arguments.name is None else parse_reference(arguments.name)
            found = inspect(path.expanduser(), name, lambda told: progress.show(progress_object(told)))
    finally:
        progress.end()
    broken = [{"what": problem.what, "reason": problem.reason} for problem in found.problems]
    counts = {"names": found.names, "blobs": found.blobs, "size_bytes": found.size_bytes}
    if arguments.json:
        progress.show({"status": "success", **counts, "broken": broken})
    else:
        print(f"{found.names} names, {found.blobs} blobs, {size(found.size_bytes)} read")
        for fault in broken:
            print(printable(f"{fault['what']}: {fault['reason']}"))
        print(
            printable(
                f"{path} is not sound: do not import it, write it again" if broken else f"{path} is sound"
            )
        )
    return Exit.DATA if broken else Exit.OK


def _as_one_step(told: Json) -> Json:
    """Its amounts are of all blobs together, so it is one bar and not one a blob."""
    return {key: value for key, value in told.items() if key != "digest"} | {"status": "verifying"}
