"""`outpost hibernation`: what prompts are on the disk of this machine or another, and away with them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path

from appliance.cli.address import DEFAULT_DATA
from appliance.cli.exits import Exit, Failure
from appliance.cli.terminal import size
from appliance.daemon.snapshots import Kept, clear, kept


def main(arguments: argparse.Namespace) -> int:
    """Of this machine it looks at the files themselves, so that no daemon is needed."""
    if arguments.host is not None:
        return _of_another(arguments)
    data = arguments.data or _default()
    try:
        if not data.is_dir():
            raise Failure(Exit.NO_INPUT, f"{data}: no such data directory", code="no_such_file")
        told = clear(data) if arguments.action == "clear" else kept(data)
    except PermissionError as error:
        raise Failure(
            Exit.NOT_ALLOWED,
            f"{data}: {error.strerror}; run it as the user of the daemon",
            code="not_allowed",
        ) from error
    except OSError as error:
        raise Failure(Exit.DISK, f"{data}: {error.strerror}", code="disk") from error
    print(json.dumps(asdict(told)) if arguments.json else _shown(told, arguments.action))
    return Exit.OK


def _of_another(arguments: argparse.Namespace) -> int:
    from appliance.cli.connect import client_of  # noqa: PLC0415 - HTTP, only where a daemon is asked

    if arguments.data is not None:
        raise Failure(Exit.USAGE, "--host goes without --data", code="usage")
    client = client_of(arguments)
    path = "/outpost/v1/hibernation"
    body = (client.delete(path) if arguments.action == "clear" else client.get(path)).body
    if arguments.json:
        print(json.dumps(body))
        return Exit.OK
    try:
        told = Kept(**{field.name: int(body[field.name]) for field in fields(Kept)})
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(
            Exit.PROTOCOL, f"{client.target.url} does not tell what it keeps", code="protocol"
        ) from error
    print(_shown(told, arguments.action))
    return Exit.OK


def _default() -> Path:
    return next((data for data in DEFAULT_DATA if data.is_dir()), DEFAULT_DATA[-1])


def _shown(told: Kept, action: str) -> str:
    snapshots = f"{told.snapshots} snapshot{'' if told.snapshots == 1 else 's'}"
    models = f"{told.models} model{'' if told.models == 1 else 's'}"
    done = "removed" if action == "clear" else "on disk:"
    return f"{done} {snapshots} of {models}, {size(told.size_bytes)}"
