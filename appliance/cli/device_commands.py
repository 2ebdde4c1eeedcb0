"""The commands about a device and its daemon, declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from appliance.cli.declaring import another, command, connection


def _hardware(commands: Any) -> None:
    parser = command(
        commands,
        "hardware",
        "tell what this board is and how it does",
        usage="outpost hardware [capture OUT] [--json] [--root DIR] [--data DIR] [options]",
        more="Read from the kernel's files; no daemon is needed. Board, cores, memory, temperatures, power, "
        "throttling, GPU, fans and disks; what is not known is listed with its reason.\n\n"
        "`hardware capture OUT` writes these files to a new directory, or to OUT.tar, without serial "
        "numbers, addresses and names: a fixture that stands for this board in tests.",
        examples=(
            "outpost hardware",
            "outpost hardware --json | jq '.thermal.zones[] | {name, temperature_celsius}'",
            "outpost hardware capture my-board.tar",
            "outpost hardware --root my-board",
            "outpost hardware --host box.local --key-file box.key",
        ),
    )
    parser.add_argument("words", nargs="*", metavar="[capture OUT]", help="write a fixture of this board")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="read the board whose files are below DIR (default: /)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory whose free space is told")
    another(parser)


def _health(commands: Any) -> None:
    parser = command(
        commands,
        "health",
        "ask a daemon whether it is well",
        usage="outpost health [--json] [options]",
        more="Ends with 0 when the daemon is ready to answer and with 69 when it is not.",
        examples=("outpost health", "until outpost health; do sleep 1; done"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


def _version(commands: Any) -> None:
    parser = command(
        commands,
        "version",
        "print the version",
        usage="outpost version [--json] [options]",
        more="With --host or --data also the version of that daemon; without, none is asked.",
        examples=("outpost version", "outpost version --json", "outpost version --host box.local"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


DECLARED: Final[dict[str, Callable[[Any], None]]] = {
    "hardware": _hardware,
    "health": _health,
    "version": _version,
}
"""In the order of the help."""
