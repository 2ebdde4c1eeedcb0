"""`outpost hardware`: what this board tells of itself, read from the kernel's files; no daemon is asked."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.cli.address import DEFAULT_DATA
from appliance.cli.exits import Exit, Failure
from appliance.cli.hardware_text import lines
from appliance.cli.terminal import printable
from appliance.hardware import jetson_stats, system
from appliance.hardware.capture import capture, write
from appliance.hardware.jetson_stats import JetsonStats
from appliance.hardware.report import HardwareReport, sample
from appliance.hardware.root import Absent, Root


def main(arguments: argparse.Namespace) -> int:
    root = _root(arguments.root)
    if arguments.words:
        return _capture(root, arguments)
    report = sample(root, data_dir=_data(arguments.data) if root.is_machine else None)
    # A simulated board has neither programs nor a service.
    jtop = jetson_stats.ask() if root.is_machine else None
    programs = system.largest_programs() if root.is_machine else ()
    if arguments.json:
        print(json.dumps({**as_json(report, jtop), "programs": [asdict(program) for program in programs]}))
    else:
        print("\n".join(printable(line) for line in lines(report, jtop, programs)))
    return Exit.OK


def as_json(report: HardwareReport, jtop: JetsonStats | Absent | None) -> dict[str, Any]:
    """Names of fields end with their units; what is unknown is null, with its reason in `reasons`."""
    told = asdict(report)
    told["is_throttled"] = report.is_throttled
    told["memory"]["budget_bytes"] = report.memory.budget_bytes
    told["power"]["is_over_current"] = report.power.is_over_current
    for shown, device in zip(told["thermal"]["cooling_devices"], report.thermal.cooling_devices, strict=True):
        shown["is_throttling"] = device.is_throttling
    told["jtop"] = asdict(jtop) if isinstance(jtop, JetsonStats) else None
    told["reasons"] = {"jtop": str(jtop)} if isinstance(jtop, Absent) else {}
    return told


def _root(path: Path | None) -> Root:
    if path is not None and not path.is_dir():
        raise Failure(Exit.NO_INPUT, f"there is no directory '{path}' to read a board from", code="no_input")
    return Root(path or Path("/"))


def _data(named: Path | None) -> Path | None:
    return named or next((path for path in DEFAULT_DATA if path.is_dir()), None)


def _capture(root: Root, arguments: argparse.Namespace) -> int:
    if arguments.words[0] != "capture" or len(arguments.words) != 2:
        raise Failure(
            Exit.USAGE,
            "after hardware comes nothing, or: capture OUT; see: outpost hardware --help",
            code="usage",
        )
    target = Path(arguments.words[1])
    found = capture(root)
    try:
        write(found, target)
    except FileExistsError as error:
        raise Failure(
            Exit.DATA, f"'{target}' exists already; name a new directory or .tar", code="exists"
        ) from error
    except OSError as error:
        raise Failure(
            Exit.DISK, f"'{target}' cannot be written: {error.strerror}; name another place", code="disk"
        ) from error
    counts = {"files": len(found.files), "unreadable": len(found.errors), "redacted": found.redacted}
    if arguments.json:
        print(json.dumps({"path": str(target), **counts}))
    else:
        print(
            f"wrote {counts['files']} files to '{printable(str(target))}': {counts['unreadable']} could not "
            f"be read, {counts['redacted']} values were redacted"
        )
        print("look through it before you hand it on; how to contribute it is in docs/hardware.md")
    return Exit.OK
