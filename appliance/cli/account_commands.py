"""The commands about who did what, declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from appliance.cli.declaring import command, connection


def _usage(commands: Any) -> None:
    parser = command(
        commands,
        "usage",
        "tell what was asked of which model, by which key",
        usage="outpost usage [--by WHAT] [--since TIME] [--key ID] [--json|--csv] [options]",
        more="Requests, errors, tokens, time and, where a sensor measures it, energy; never what was asked. "
        "A key sees its own, one with the scope system sees all; without keys, all is shown. Days and hours "
        "are UTC. What was asked in the last two seconds may be missing. Where no daemon runs in the "
        "directory, its file is read.",
        examples=(
            "outpost usage --since 7d",
            "outpost usage --by day,key --since 30d --csv > usage.csv",
            "outpost usage --by model --json | jq '.data[] | {model, output_tokens}'",
        ),
    )
    parser.add_argument(
        "--by",
        metavar="WHAT,...",
        default="key,model",
        help="what to part it by: key, model, day, hour (default: key,model)",
    )
    parser.add_argument("--since", metavar="TIME", help="only the last hours or days, as in 24h or 7d")
    parser.add_argument("--key", metavar="ID", help="only of this key")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    connection(parser)


def _audit(commands: Any) -> None:
    parser = command(
        commands,
        "audit",
        "show or verify the log of who changed what",
        usage="outpost audit show|verify [--last N] [--data DIR] [--json]",
        more="Each entry holds the digest of the one before it and is signed with the key of this device, so "
        "`verify` finds every line that was changed, removed, moved or cut off, and ends with 65 then. Both "
        "read the files of this machine, with a daemon or without.",
        examples=(
            "outpost audit show --last 20",
            "outpost audit verify --json | jq .findings",
        ),
    )
    parser.add_argument("action", choices=("show", "verify"), help="what to do")
    parser.add_argument(
        "--last", type=int, default=50, metavar="N", help="how many entries are shown (default: 50)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data directory (default: ./.outpost or /var/lib/outpost)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


DECLARED: Final[dict[str, Callable[[Any], None]]] = {"usage": _usage, "audit": _audit}
