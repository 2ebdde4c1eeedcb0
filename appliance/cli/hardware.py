"""`outpost hardware`: what this board tells of itself, read from the kernel's files with no daemon; or what
the daemon of another tells.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from appliance.cli.address import DEFAULT_DATA
from appliance.cli.exits import Exit, Failure
from appliance.cli.hardware_text import lines
from appliance.cli.terminal import printable
from appliance.hardware import jetson_stats, system
from appliance.hardware.capture import capture, write
from appliance.hardware.report import HardwareReport, sample
from appliance.hardware.root import Absent, Root
from appliance.hardware.told import report_object


def main(arguments: argparse.Namespace) -> int:
    if arguments.host is not None:
        return _of_another(arguments)
    root = _root(arguments.root)
    if arguments.words:
        return _capture(root, arguments)
    report = sample(root, data_dir=_data(arguments.data) if root.is_machine else None)
    # A simulated board has neither programs nor a service.
    jtop = jetson_stats.ask() if root.is_machine else None
    programs = system.largest_programs() if root.is_machine else ()
    if arguments.json:
        print(
            json.dumps({**report_object(report, jtop), "programs": [asdict(program) for program in programs]})
        )
    else:
        print("\n".join(printable(line) for line in lines(report, jtop, programs)))
    return Exit.OK


def _of_another(arguments: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415 - and HTTP: only where a daemon is asked

    from appliance.cli.connect import client_of  # noqa: PLC0415

    if arguments.words or arguments.root is not None or arguments.data is not None:
        raise Failure(Exit.USAGE, "--host goes without capture, --root and --data", code="usage")
    client = client_of(arguments)
    told = client.get("/outpost/v1/hardware").body
    if arguments.json:
        print(json.dumps(told))
        return Exit.OK
    try:
        report = msgspec.convert(told, type=HardwareReport, strict=False)
    except msgspec.ValidationError as error:
        raise Failure(
            Exit.PROTOCOL, f"{client.target.url} tells of its board in another form; use --json: {error}"
        ) from error
    nobody = Absent(path="", reason="the daemon does not ask it; run the command there")
    print("\n".join(printable(line) for line in lines(report, nobody, ())))
    return Exit.OK


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
