"""`outpost hibernation`: what prompts are on the disk of this machine, and away with them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from appliance.cli.address import DEFAULT_DATA
from appliance.cli.exits import Exit, Failure
from appliance.cli.terminal import size
from appliance.daemon.snapshots import Kept, clear, kept


def main(arguments: argparse.Namespace) -> int:
    """Looks at the files themselves: there is no other machine whose they could be."""
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


def _default() -> Path:
    return next((data for data in DEFAULT_DATA if data.is_dir()), DEFAULT_DATA[-1])


def _shown(told: Kept, action: str) -> str:
    snapshots = f"{told.snapshots} snapshot{'' if told.snapshots == 1 else 's'}"
    models = f"{told.models} model{'' if told.models == 1 else 's'}"
    done = "removed" if action == "clear" else "on disk:"
    return f"{done} {snapshots} of {models}, {size(told.size_bytes)}"
