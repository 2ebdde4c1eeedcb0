"""The commands' way to the store: the daemon's API where one runs, else the store itself, with its lock.

Both give the same JSON and the same failures, so no command knows which it has. Through the daemon no part of
the store is imported: the answer is there before its modules would be.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlencode

from appliance.cli.address import Target, discover_store, is_this_machine, process_alive
from appliance.cli.exits import Exit, Failure

if TYPE_CHECKING:
    from appliance.cli.client import Client
    from appliance.store.operations import Operation, Outcome

Json = dict[str, Any]
Show = Callable[[Json], None]

_RESUMABLE: Final = ("pull", "push", "import", "create")


class Door(Protocol):
    takes_paths: bool
    """Whether files of this machine may be named."""

    def list(self, prefix: str) -> list[Json]: ...

    def show(self, name: str) -> Json: ...

    def perform(self, operation: Operation, show: Show) -> Outcome:
        """Progress goes to `show`, as it comes. Raises Failure."""


class RemoteDoor:
    """The daemon's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.takes_paths = is_this_machine(client.target.url)

    def list(self, prefix: str) -> list[Json]:
        query = f"?{urlencode({'prefix': prefix})}" if prefix else ""
        models = self._client.get(f"/outpost/v1/models{query}").body.get("models")
        return [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []

    def show(self, name: str) -> Json:
        return self._client.get(f"/outpost/v1/models/{quote(name, safe='')}").body

    def perform(self, operation: Operation, show: Show) -> Outcome:
        from appliance.store import operations  # noqa: PLC0415 - who performs has imported it

        outcome: Outcome = {}
        with closing(self._client.operate(operations.to_body(operation))) as lines:
            for line in lines:
                if line.get("status") == "success":
                    outcome = {key: value for key, value in line.items() if key != "status"}
                else:
                    show(line)
        return outcome


def _as_told(told: Json) -> Json:
    return told


def listed(arguments: argparse.Namespace, prefix: str) -> list[Json]:
    """The models in the store that is meant. Raises Failure."""
    found = _found(arguments)
    if isinstance(found, Path) and arguments.config is None:
        from appliance.cli.own_list import own_list  # noqa: PLC0415 - the store's parts, only where needed

        return own_list(found, prefix)
    with opened(arguments) as door:
        return door.list(prefix)


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Door]:
    """The store that the arguments and the environment mean. Raises Failure."""
    found = _found(arguments)
    if isinstance(found, Target):
        from appliance.cli.connect import client_at  # noqa: PLC0415 - HTTP, only where a daemon is asked

        yield RemoteDoor(client_at(found, arguments))
        return
    from appliance.cli.local_door import opened_here  # noqa: PLC0415 - the store's parts, only where needed

    with opened_here(found, arguments.config) as door:
        yield door


def _found(arguments: argparse.Namespace) -> Target | Path:
    return discover_store(host=arguments.host, data=arguments.data, environ=os.environ, alive=process_alive)


def performed(
    arguments: argparse.Namespace, operation: Operation, *, worded: Callable[[Json], Json] = _as_told
) -> Outcome:
    """Do `operation` with its progress on stdout; for people it is put as `worded` says."""
    with opened(arguments) as door:
        return shown(door, operation, as_json=arguments.json, worded=worded)


def shown(
    door: Door, operation: Operation, *, as_json: bool, worded: Callable[[Json], Json] = _as_told
) -> Outcome:
    from appliance.cli.progress import progress_on  # noqa: PLC0415 - `list` and `show` have none

    progress = progress_on(sys.stdout, as_json=as_json)
    try:
        outcome = door.perform(
            operation, progress.show if as_json else lambda told: progress.show(worded(told))
        )
    except KeyboardInterrupt:
        progress.end()
        if operation.__struct_config__.tag in _RESUMABLE:
            print(
                "outpost: interrupted; what has come is kept, the next try goes on from there",
                file=sys.stderr,
            )
        raise
    except BaseException:
        progress.end()
        raise
    progress.show({"status": "success", **(outcome if as_json else {})})
    progress.end()
    return outcome


def absolute(door: Door, path: Path) -> str:
    """`path` as the store's machine must read it."""
    if not door.takes_paths:
        raise Failure(
            Exit.USAGE,
            f"{path}: the daemon is another machine and cannot read files of this one; run the command there",
            code="usage",
        )
    return str(path.expanduser().absolute())


def require(path: Path) -> None:
    """Raises Failure where there is nothing, or nothing that may be looked at."""
    try:
        path.expanduser().stat()
    except OSError as error:
        reason = "no such file or directory" if isinstance(error, FileNotFoundError) else error.strerror
        raise Failure(Exit.NO_INPUT, f"{path}: {reason}", code="no_such_file") from error
