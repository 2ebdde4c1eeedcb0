"""`outpost keys`, declared: what it takes, what it teaches."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, Final

from appliance.cli.declaring import command, key_connection

ACTIONS: Final = ("create", "list", "show", "edit", "revoke", "rotate", "claim")
SCOPES: Final = ("infer", "models:read", "models:write", "keys:admin", "metrics", "system")
"""`access.scopes.Scope`, without loading it; a test compares."""
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NONE: Final = "none"

_COUNTS: Final = {
    "requests_per_min": "most requests in a minute",
    "tokens_per_min": "most prompt and output tokens in a minute",
    "tokens_per_day": "most prompt and output tokens in a day",
    "concurrency": "most requests at work or waiting at once",
    "max_context": "most tokens of one request, prompt and answer together",
}


def _keys(commands: Any) -> None:
    parser = command(
        commands,
        "keys",
        "make, list, change and revoke API keys",
        usage="outpost keys create|list|show|edit|revoke|rotate|claim [ID|CLAIM] [options]",
        more="`create` prints the new key on stdout, once: only its hash is kept. It may have models answer "
        "(infer) unless --scope says otherwise. `edit` changes what is named, and nothing else; `none` takes "
        "a limit or the end away. `revoke` holds at once and for good. `rotate` gives a key a new secret "
        "under the same id; with --grace the old one holds for so long, too. `claim` makes the first key "
        "with keys:admin, by the claim that the daemon shows on its console; without CLAIM it is read from "
        "the data directory of this machine.\n\n"
        "A daemon is asked with a key that has keys:admin. Where none runs, the database in the data "
        "directory is changed by this command itself. Keys of the configuration are listed, and changed "
        "only there.\n\n"
        "The first key shuts the door to all who have none. So it must have keys:admin, or nobody could make "
        "another while the daemon runs; --force makes another one first all the same.",
        examples=(
            "outpost keys create --name admin --scope keys:admin,system,infer > admin.key",
            "OUTPOST_API_KEY=$(cat admin.key) outpost keys create --name laptop",
            "outpost keys create --name team --model 'smollm2*' --expires 90d --requests-per-min 60",
            "outpost keys create --name ops --scope keys:admin,system,metrics > ops.key",
            "outpost keys list --json | jq -r '.data[] | select(.state == \"active\") | .id'",
            "outpost keys edit k7f3q9xz --tokens-per-day none --scope infer,metrics",
            "outpost keys rotate k7f3q9xz --grace 1h",
        ),
    )
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    _options(parser)
    key_connection(parser)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "word", nargs="?", metavar="ID|CLAIM", help="the key that is meant, or what stands on the console"
    )
    parser.add_argument("--name", metavar="NAME", help="what you call it")
    parser.add_argument("--note", metavar="TEXT", help="what else is to be known of it")
    parser.add_argument(
        "--scope",
        action="append",
        type=_scopes,
        metavar="SCOPE,...",
        help=f"what it may do; may be repeated: {', '.join(SCOPES)}",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="PATTERN",
        help="models that it may use and see, as in smollm2 or 'team/*'; may be repeated; '*': all (default)",
    )
    parser.add_argument("--expires", type=_life, metavar="TIME", help="how long it holds: 12h, 90d, none")
    for name, text in _COUNTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_count, metavar="N", help=text)
    parser.add_argument(
        "--background",
        action="store_true",
        default=None,
        help="its requests wait until nobody else's realtime ones do",
    )
    parser.add_argument("--no-background", dest="background", action="store_false", help="they do not")
    parser.add_argument(
        "--grace",
        type=_seconds,
        metavar="TIME",
        help="rotate: how long the old secret still holds (default: 0)",
    )
    parser.add_argument("--force", action="store_true", help="also when nobody could change keys afterwards")
    parser.add_argument("--json", action="store_true", help="print JSON")


def body_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is said of the key's properties, as `access.wishes` reads it; null where `none` was said."""
    told: dict[str, Any] = {"name": arguments.name, "note": arguments.note}
    if arguments.scope is not None:
        told["scopes"] = sorted({scope for scopes in arguments.scope for scope in scopes})
    if arguments.model is not None:
        told["models"] = [] if "*" in arguments.model else arguments.model
    told["background_only"] = arguments.background
    body = {name: value for name, value in told.items() if value is not None}
    limits = {name: getattr(arguments, name) for name in _COUNTS} | {"expires_in_s": arguments.expires}
    return body | {
        name: None if value == _NONE else value for name, value in limits.items() if value is not None
    }


DECLARED: Final[dict[str, Callable[[Any], None]]] = {"keys": _keys}


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(part.strip() for part in text.split(",") if part.strip())
    for scope in scopes:
        if scope not in SCOPES:
            raise argparse.ArgumentTypeError(f"'{scope}' is no scope; there are: {', '.join(SCOPES)}")
    if not scopes:
        raise argparse.ArgumentTypeError("nothing is named")
    return scopes


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,7})([smhdw])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time like 30m, 12h, 90d or 2w")
    return float(int(match[1]) * _SECONDS[match[2]])


def _life(text: str) -> float | str:
    return _NONE if text == _NONE else _seconds(text)


def _count(text: str) -> int | str:
    if text == _NONE:
        return _NONE
    if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number of at least 1 nor none")
    return int(text)
