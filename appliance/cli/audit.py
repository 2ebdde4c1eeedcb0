"""`outpost audit`: who changed what on this machine, and whether anybody changed the log of it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.access import audit_files
from appliance.access.audit_chain import Checked, Head
from appliance.cli.address import DEFAULT_DATA
from appliance.cli.exits import Exit, Failure
from appliance.cli.terminal import printable
from appliance.daemon.device_key import device_key, has_device_key


def main(arguments: argparse.Namespace) -> int:
    """Looks at the files themselves: the device's key is nowhere else."""
    data = arguments.data or next((data for data in DEFAULT_DATA if data.is_dir()), DEFAULT_DATA[-1])
    if arguments.last < 1:
        raise Failure(Exit.USAGE, "--last: a number of entries", code="usage")
    if not data.is_dir():
        raise Failure(Exit.NO_INPUT, f"{data}: no such data directory", code="no_such_file")
    try:
        return _show(data, arguments) if arguments.action == "show" else _verify(data, arguments)
    except PermissionError as error:
        raise Failure(
            Exit.NOT_ALLOWED,
            f"{data}: {error.strerror}; run it as the user of the daemon",
            code="not_allowed",
        ) from error
    except OSError as error:
        raise Failure(Exit.DISK, f"{data}: {error.strerror}", code="disk") from error


def _show(data: Path, arguments: argparse.Namespace) -> int:
    entries = audit_files.entries(data, last=arguments.last)
    if arguments.json:
        print(json.dumps({"entries": entries}))
        return Exit.OK
    for entry in entries:
        print(printable(_line(entry)))
    return Exit.OK


def _verify(data: Path, arguments: argparse.Namespace) -> int:
    if not has_device_key(data):
        if audit_files.segments(data / audit_files.FOLDER):
            raise Failure(Exit.DATA, f"{data}: the key that signed the log is gone", code="audit_key_missing")
        checked = Checked(entries=0, head=Head(), findings=())
    else:
        checked = audit_files.verify(data, device_key(data))
    is_torn = audit_files.is_torn(data)
    if arguments.json:
        print(json.dumps({**asdict(checked), "is_whole": not checked.findings, "is_torn": is_torn}))
    else:
        for line in _told(checked, is_torn=is_torn):
            print(printable(line))
    return Exit.DATA if checked.findings else Exit.OK


def _line(entry: dict[str, Any]) -> str:
    facts = entry.get("facts")
    told = (
        " ".join(f"{name}={json.dumps(value)}" for name, value in facts.items())
        if isinstance(facts, dict)
        else ""
    )
    return (
        f"{entry.get('seq')} {entry.get('time')} {entry.get('event')} by {entry.get('actor')} {told}".rstrip()
    )


def _told(checked: Checked, *, is_torn: bool) -> list[str]:
    head = checked.head
    lines = [
        f"{finding.damage.value}: {finding.place or 'the log'}"
        + (f", entry {finding.seq}" if finding.seq is not None else "")
        for finding in checked.findings
    ]
    if is_torn:
        lines.append(
            "the last line is unfinished, as a cut of power leaves it; the next entry takes its place"
        )
    if not checked.findings:
        lines.append(
            f"{checked.entries} entries, {head.first} to {head.seq}, whole; the last is {head.sha256}"
        )
    return lines
