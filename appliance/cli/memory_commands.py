"""The commands about what is in memory, declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from appliance.cli.declaring import another, command, connection


def _load(commands: Any) -> None:
    parser = command(
        commands,
        "load",
        "bring a model into memory",
        usage="outpost load MODEL [--keep-alive 10m] [options]",
        more="A request does that, too; this one does it beforehand, and ends when the model is ready.",
        examples=("outpost load tiny", "outpost load tiny --keep-alive -1"),
    )
    parser.add_argument("model", metavar="MODEL", help="the model")
    parser.add_argument(
        "--keep-alive",
        metavar="TIME",
        help="how long it stays when nobody asks it: 30s, 10m, 1h30m; below 0: until memory is needed",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


def _stop(commands: Any) -> None:
    parser = command(
        commands,
        "stop",
        "put models out of memory",
        usage="outpost stop MODEL... [options]",
        more="Running answers are let finish, new requests wait for the next start. A pinned model goes too, "
        "until a request brings it back.",
        examples=("outpost stop tiny", "outpost stop tiny other --json"),
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="the models")
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


def _hibernation(commands: Any) -> None:
    parser = command(
        commands,
        "hibernation",
        "show or remove the prompts that models keep on disk",
        usage="outpost hibernation show|clear [--data DIR] [--json] [options]",
        more="With [hibernation] enabled, computed prompts outlive their model's process on the disk of this "
        "machine. `clear` removes them, also while the daemon runs: what is in memory stays, and is written "
        "again. For good: enabled = false, and a restart.",
        examples=("outpost hibernation show", "outpost hibernation clear --data .outpost"),
    )
    parser.add_argument("action", choices=("show", "clear"), help="what to do")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data directory (default: ./.outpost or /var/lib/outpost)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    another(parser)


DECLARED: Final[dict[str, Callable[[Any], None]]] = {
    "load": _load,
    "stop": _stop,
    "hibernation": _hibernation,
}
