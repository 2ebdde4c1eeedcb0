"""The commands' way to the store: the daemon's API where one runs, else the store itself, with its lock.

Both give the same JSON and the same failures, so no command knows which it has.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from appliance.cli.address import Target, discover_store, is_this_machine, process_alive, read_key
from appliance.cli.client import Client
from appliance.cli.exits import GET_A_MODEL, Exit, Failure, of_error
from appliance.cli.progress import progress_on
from appliance.errors import ModelNotFound, OutpostError
from appliance.store import operations
from appliance.store.answers import listed_object, progress_object, shown_object
from appliance.store.content import Progress, Report
from appliance.store.operations import Operation, Outcome
from appliance.store.verbs import StoreVerbs

Json = dict[str, Any]
Show = Callable[[Json], None]

_RESUMABLE = (operations.Pull, operations.Push, operations.Import, operations.Create)


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
        outcome: Outcome = {}
        with closing(self._client.operate(operations.to_body(operation))) as lines:
            for line in lines:
                if line.get("status") == "success":
                    outcome = {key: value for key, value in line.items() if key != "status"}
                else:
                    show(line)
        return outcome


class LocalDoor:
    """The store itself, opened by this process. Used by the main thread; the verbs may report from others,
    one at a time.
    """

    takes_paths = True

    def __init__(self, verbs: StoreVerbs) -> None:
        self._verbs = verbs

    def list(self, prefix: str) -> list[Json]:
        with failures():
            return [listed_object(model) for model in self._verbs.list(prefix)]

    def show(self, name: str) -> Json:
        with failures():
            return shown_object(self._verbs.show(name))

    def perform(self, operation: Operation, show: Show) -> Outcome:
        with failures():
            # Checked as the daemon would: one door must not take what the other refuses.
            asked = operations.parse_operation(operations.to_body(operation))
            return operations.perform(self._verbs, asked, _news_to(show))


def _news_to(show: Show) -> Report:
    """What is said again is shown once, as the daemon does it."""
    latest: Progress | None = None

    def report(progress: Progress) -> None:
        nonlocal latest
        if progress != latest:
            latest = progress
            show(progress_object(progress))

    return report


def _as_told(told: Json) -> Json:
    return told


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Door]:
    """The store that the arguments and the environment mean. Raises Failure."""
    found = discover_store(host=arguments.host, data=arguments.data, environ=os.environ, alive=process_alive)
    if isinstance(found, Target):
        key = read_key(arguments.key_file, os.environ)
        yield RemoteDoor(Client(found, key=key, timeout_s=arguments.timeout))
        return
    # The store's imports and its lock only where it is needed.
    from appliance.cli.own_store import own_store  # noqa: PLC0415

    with failures(), own_store(found, arguments.config) as verbs:
        yield LocalDoor(verbs)


def performed(
    arguments: argparse.Namespace, operation: Operation, *, worded: Callable[[Json], Json] = _as_told
) -> Outcome:
    """Do `operation` with its progress on stdout; for people it is put as `worded` says."""
    with opened(arguments) as door:
        return shown(door, operation, as_json=arguments.json, worded=worded)


def shown(
    door: Door, operation: Operation, *, as_json: bool, worded: Callable[[Json], Json] = _as_told
) -> Outcome:
    progress = progress_on(sys.stdout, as_json=as_json)
    try:
        outcome = door.perform(
            operation, progress.show if as_json else lambda told: progress.show(worded(told))
        )
    except KeyboardInterrupt:
        progress.end()
        if isinstance(operation, _RESUMABLE):
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


@contextmanager
def failures() -> Iterator[None]:
    """Turn the store's errors into Failure, with the codes that the daemon's API has for them."""
    try:
        yield
    except OutpostError as error:
        message = error.message
        if isinstance(error, ModelNotFound):
            message += f"; {GET_A_MODEL}"
        code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
        raise Failure(of_error(error), message, code=code) from error
