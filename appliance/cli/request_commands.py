"""The commands about requests under way, declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from appliance.cli.declaring import command, connection


def _requests(commands: Any) -> None:
    parser = command(
        commands,
        "requests",
        "list the requests that are at work or wait",
        usage="outpost requests [--json] [options]",
        more="A key sees its own requests, one with the scope system sees all; without keys, all are shown.",
        examples=("outpost requests", "outpost requests --json | jq -r '.requests[].id'"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


def _cancel(commands: Any) -> None:
    parser = command(
        commands,
        "cancel",
        "end requests by their ids",
        usage="outpost cancel ID... [options]",
        more="An id is the X-Request-Id of a request, as `outpost requests` and `outpost queue` show it. Its "
        "client hears that it was cancelled; the model goes on with others at its next step.",
        examples=("outpost cancel req_5f0c2a", "outpost cancel mine-1 mine-2 --json"),
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the requests")
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


DECLARED: Final[dict[str, Callable[[Any], None]]] = {"requests": _requests, "cancel": _cancel}
