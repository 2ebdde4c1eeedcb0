"""`outpost keys`: API keys, through the daemon or without one. A new key goes to stdout alone, once."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.exits import Exit, Failure
from appliance.cli.key_commands import body_of
from appliance.cli.key_door import KeyDoor, claimed, opened

Json = dict[str, Any]

HEADER: Final = ("ID", "NAME", "STATE", "SCOPES", "MODELS", "EXPIRES", "USED")
_LIMITS: Final = ("requests_per_min", "tokens_per_min", "tokens_per_day", "concurrency", "max_context")
_NOTHING: Final = "-"
_NAMING: Final = frozenset({"show", "edit", "revoke", "rotate"})
_MAKING: Final = frozenset({"create", "rotate", "claim"})


def main(arguments: argparse.Namespace) -> int:
    """Raises Failure."""
    action = arguments.action
    if (action in _NAMING) != (arguments.word is not None) and action != "claim":
        told = f"keys {action} needs the ID of a key" if action in _NAMING else f"keys {action} takes no ID"
        raise Failure(Exit.USAGE, f"{told}; see: outpost keys --help", code="usage")
    if action == "claim":
        answer = claimed(arguments)
    else:
        with opened(arguments) as door:
            answer = _done(door, arguments)
    if arguments.json:
        print(json.dumps(answer, ensure_ascii=False))
    elif action == "list":
        print(_table(answer))
    elif action in _MAKING:
        _show_made(answer)
    else:
        print(_described(answer))
    return Exit.OK


def _done(door: KeyDoor, arguments: argparse.Namespace) -> Json:
    match arguments.action:
        case "create":
            insists = {"force": True} if arguments.force else {}
            return door.create(body_of(arguments) | insists)
        case "list":
            return door.list()
        case "show":
            return door.show(arguments.word)
        case "edit":
            return door.edit(arguments.word, body_of(arguments) | {"force": arguments.force})
        case "revoke":
            return door.revoke(arguments.word, force=arguments.force)
        case _:
            return door.rotate(arguments.word, {"grace_s": arguments.grace or 0.0})


def _show_made(answer: Json) -> None:
    print(answer.get("key"), flush=True)
    told = f"key {answer.get('id')}, for {', '.join(answer.get('scopes') or [])}"
    print(f"outpost: {terminal.printable(told)}: keep it now, it is shown only once", file=sys.stderr)


def _table(answer: Json) -> str:
    found = answer.get("data")
    keys = [key for key in found if isinstance(key, dict)] if isinstance(found, list) else []
    if not keys:
        return "there are no keys: who can reach the door may do everything"
    return terminal.table(HEADER, [_cells(key, time.time()) for key in keys])


def _cells(key: Json, now_s: float) -> tuple[str, ...]:
    return (
        str(key.get("id")),
        str(key.get("name") or _NOTHING),
        str(key.get("state")) + (" (config)" if key.get("source") == "configuration" else ""),
        ",".join(key.get("scopes") or ()),
        ",".join(key.get("models") or ()) or "all",
        _until(key.get("expires_s"), now_s),
        _since(key.get("last_used_s"), now_s),
    )


def _described(key: Json) -> str:
    now_s = time.time()
    limits = [f"{name} {key[name]}" for name in _LIMITS if key.get(name) is not None]
    if key.get("background_only"):
        limits.append("background only")
    rows = {
        "id": key.get("id"),
        "name": key.get("name"),
        "note": key.get("note"),
        "state": key.get("state"),
        "source": key.get("source"),
        "scopes": ", ".join(key.get("scopes") or ()),
        "models": ", ".join(key.get("models") or ()) or "all",
        "limits": ", ".join(limits),
        "created": _since(key.get("created_s"), now_s),
        "expires": _until(key.get("expires_s"), now_s),
        "last used": _since(key.get("last_used_s"), now_s),
        "old secret": _until(key.get("previous_until_s"), now_s),
    }
    return "\n".join(
        f"{name + ':':<12}{terminal.printable(str(told or _NOTHING))}" for name, told in rows.items()
    )


def _since(then_s: object, now_s: float) -> str:
    return terminal.ago(max(0.0, now_s - then_s)) if isinstance(then_s, int | float) else _NOTHING


def _until(then_s: object, now_s: float) -> str:
    if not isinstance(then_s, int | float):
        return _NOTHING
    left_s = then_s - now_s
    return f"in {terminal.duration(left_s)}" if left_s > 0 else terminal.ago(-left_s)
