"""`outpost gc`: free what no model needs, and say what stays and why."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from appliance.cli.exits import Exit
from appliance.cli.store_door import opened
from appliance.cli.terminal import duration, printable, size
from appliance.store.operations import Gc

Json = dict[str, Any]

_SAME_S: Final = 60.0
"""Times this near to each other are told as one: parts of one model come one after the other."""
_NEXT_STEP: Final = (
    "outpost: what these names need is not known, so no blob was freed; pull or import them again, or remove "
    "them with `outpost rm NAME`, then run `outpost gc`"
)


def main(arguments: argparse.Namespace) -> int:
    """65 when no blob may go because of a manifest that cannot be read."""
    with opened(arguments) as door:
        asked = Gc(dry_run=arguments.dry_run, grace_s=arguments.grace, arrivals=arguments.arrivals)
        outcome = door.perform(asked, lambda _: None)
    if arguments.json:
        print(json.dumps(outcome))
    else:
        for line in lines(outcome):
            print(printable(line))
    withheld: list[str] = outcome.get("withheld", [])
    for unread in withheld:
        print(f"outpost: {printable(unread)}", file=sys.stderr)
    if withheld:
        print(_NEXT_STEP, file=sys.stderr)
    return Exit.DATA if withheld else Exit.OK


def lines(outcome: Json) -> Iterator[str]:
    done = "would free" if outcome.get("dry_run") else "freed"
    yield f"{done} {_amount(outcome)}"
    arrivals: Json = outcome.get("arrivals") or {}
    if arrivals.get("blobs"):
        yield f"of that, {_amount(arrivals)} cut off on the way in"
    young: Json = outcome.get("young") or {}
    if young.get("blobs"):
        yield f"kept {_amount(young)} that came less than {duration(outcome['grace_s'])} ago: {_when(young)}"
        yield "to free it now: outpost gc --grace 0"
    at_work: Json = outcome.get("at_work") or {}
    if at_work.get("blobs"):
        yield f"kept {_amount(at_work)} in use or arriving"
    cut_off: Json = outcome.get("cut_off") or {}
    if cut_off.get("blobs"):
        yield f"kept {_amount(cut_off)} cut off on the way in, for the next try: a week"
        yield "to free it now: outpost gc --arrivals"


def _amount(told: Json) -> str:
    blobs = told.get("blobs", 0)
    return f"{size(int(told.get('size_bytes', 0)))} in {blobs} blob{'' if blobs == 1 else 's'}"


def _when(young: Json) -> str:
    first_s, last_s = float(young["first_in_s"]), float(young["last_in_s"])
    if last_s - first_s < _SAME_S:
        return f"it can go in {duration(last_s)}"
    return f"the first of it can go in {duration(first_s)}, the last in {duration(last_s)}"
