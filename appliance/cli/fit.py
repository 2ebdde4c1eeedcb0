"""`outpost fit`: whether a model fits into memory, and what it would give up; nothing is loaded.

The daemon answers where there is one: it knows who is in memory, and exact sizes. Else, and for another
board, for a file or with a configuration of its own, this process does (`own_fit`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Final

from appliance.cli import fit_text
from appliance.cli.address import (
    DEFAULT_URL,
    Target,
    discover_store,
    is_this_machine,
    process_alive,
)
from appliance.cli.exits import Exit, Failure
from appliance.cli.named_file import is_file
from appliance.cli.terminal import printable

DOES_NOT_FIT: Final = Exit.UNAVAILABLE
_HOST: Final = "OUTPOST_HOST"

Json = dict[str, Any]


def main(arguments: argparse.Namespace) -> int:
    """0: it fits, perhaps with concessions, or once others have gone; 69: it does not."""
    target = None if _is_ours(arguments) else _daemon(arguments)
    told = None if target is None else _asked(arguments, target)
    if target is None or told is None:
        from appliance.cli.own_fit import own_fit  # noqa: PLC0415 - the planner's parts, only where needed

        told, where = own_fit(arguments), "here"
    else:
        where = "here" if is_this_machine(target.url) else f"at {target.url}"
    text = _text(told, where)
    error = told.get("error")
    if isinstance(error, dict):
        error["exit"] = int(DOES_NOT_FIT)
    print(json.dumps(told, ensure_ascii=False) if arguments.json else printable(text))
    if not isinstance(error, dict):
        return Exit.OK
    sys.stdout.flush()
    print(f"outpost: {printable(str(error.get('message')))}", file=sys.stderr)
    return DOES_NOT_FIT


def _is_ours(arguments: argparse.Namespace) -> bool:
    """No daemon knows this board, this file, or this configuration."""
    if arguments.board is not None or arguments.config is not None:
        return True
    return arguments.model.endswith((".gguf", ".json")) or is_file(arguments.model)


def _daemon(arguments: argparse.Namespace) -> Target | None:
    """Raises Failure."""
    found = discover_store(host=arguments.host, data=arguments.data, environ=os.environ, alive=process_alive)
    return found if isinstance(found, Target) else None


def _asked(arguments: argparse.Namespace, target: Target) -> Json | None:
    """Its answer; None: nobody named a daemon, and none is there. Raises Failure."""
    from appliance.cli.connect import client_at  # noqa: PLC0415 - HTTP, only where a daemon is asked

    wishes = {
        "n_ctx_seq": arguments.ctx,
        "n_parallel": arguments.parallel,
        "min_ctx": arguments.min_ctx,
    }
    body = {"model": arguments.model} | {name: wish for name, wish in wishes.items() if wish is not None}
    client = client_at(target, arguments)
    try:
        return client.post("/outpost/v1/fit", body).body
    except Failure as failure:
        is_a_guess = target.url == DEFAULT_URL and arguments.host is None and not os.environ.get(_HOST)
        if is_a_guess and (failure.code == "not_running" or failure.exit_code is Exit.PROTOCOL):
            return None
        if failure.code == "unknown_url":
            told = f"{target.url} ({target.source}) cannot tell what would fit: another version of Outpost?"
            raise Failure(Exit.PROTOCOL, told, code="unknown_url") from failure
        raise


def _text(told: Json, where: str) -> str:
    """Raises Failure for what no Outpost answers."""
    try:
        return fit_text.shown(told, where=where)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Failure(
            Exit.PROTOCOL, f"its answer is none that this version understands ({where}): {error!r:.200}"
        ) from error
