"""The commands' way to the keys: the daemon's API where one runs, else the database in the data directory."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from appliance.cli.address import Target, discover_store, process_alive, read_key
from appliance.cli.exits import Exit, Failure
from appliance.cli.terminal import printable

if TYPE_CHECKING:
    from appliance.access.key_store import KeyStore
    from appliance.cli.client import Client

Json = dict[str, Any]


class KeyDoor(Protocol):
    """Both give the same JSON and the same failures."""

    def list(self) -> Json: ...

    def show(self, key_id: str) -> Json: ...

    def create(self, body: Json) -> Json: ...

    def edit(self, key_id: str, body: Json) -> Json: ...

    def rotate(self, key_id: str, body: Json) -> Json: ...

    def revoke(self, key_id: str, *, force: bool) -> Json: ...


class RemoteKeys:
    """The daemon's."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Json:
        return self._send("GET", "")

    def show(self, key_id: str) -> Json:
        return self._send("GET", _path(key_id))

    def create(self, body: Json) -> Json:
        return self._send("POST", "", body)

    def edit(self, key_id: str, body: Json) -> Json:
        return self._send("PATCH", _path(key_id), body)

    def rotate(self, key_id: str, body: Json) -> Json:
        return self._send("POST", f"{_path(key_id)}/rotate", body)

    def revoke(self, key_id: str, *, force: bool) -> Json:
        return self._send("DELETE", f"{_path(key_id)}?force={int(force)}")

    def _send(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = self._client.send(method, f"/outpost/v1/keys{path}", body)
        for warning in answer.warnings:
            _warn(warning)
        return answer.body


class OwnKeys:
    """The database, opened by this process."""

    def __init__(self, keys: KeyStore) -> None:
        from appliance.access import answers, wishes  # noqa: PLC0415 - only where no daemon runs
        from appliance.cli.local_failures import failures  # noqa: PLC0415
        from appliance.cli.own_audit import own_name  # noqa: PLC0415

        self._keys, self._answers, self._wishes, self._failures = keys, answers, wishes, failures
        self._by = own_name()

    def list(self) -> Json:
        return self._answers.list_object(self._keys.list())

    def show(self, key_id: str) -> Json:
        with self._failures():
            return self._answers.key_object(self._keys.show(key_id))

    def create(self, body: Json) -> Json:
        with self._failures():
            wish = self._wishes.parse(self._wishes.CreateKey, body)
            return self._answers.made_object(self._keys.create(wish, by=self._by))

    def edit(self, key_id: str, body: Json) -> Json:
        with self._failures():
            wish = self._wishes.parse(self._wishes.EditKey, body)
            return self._answers.key_object(self._keys.edit(key_id, wish, by=self._by))

    def rotate(self, key_id: str, body: Json) -> Json:
        with self._failures():
            wish = self._wishes.parse(self._wishes.RotateKey, body)
            return self._answers.made_object(self._keys.rotate(key_id, wish, by=self._by))

    def revoke(self, key_id: str, *, force: bool) -> Json:
        with self._failures():
            revoked = self._keys.revoke(key_id, force=force, by=self._by)
        if not revoked.is_noted:
            from appliance.access.key_store import UNNOTED  # noqa: PLC0415

            _warn(UNNOTED)
        return self._answers.key_object(revoked.shown)


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[KeyDoor]:
    """The keys that the arguments and the environment mean. Raises Failure."""
    found = _found(arguments)
    if isinstance(found, Target):
        yield RemoteKeys(_client(found, read_key(arguments.key_file, os.environ), arguments))
        return
    if not found.is_dir() and arguments.action != "create":
        raise Failure(Exit.NO_INPUT, f"{found}: no such data directory", code="no_such_file")
    with _own(found, arguments.config) as keys:
        yield OwnKeys(keys)


def claimed(arguments: argparse.Namespace) -> Json:
    """Take the claim of a daemon. No key is sent with it. Raises Failure."""
    found = _found(arguments)
    if not isinstance(found, Target):
        raise Failure(
            Exit.UNAVAILABLE,
            f"no daemon runs in {found}, and only a daemon makes a claim; without one: outpost keys create "
            f"--scope keys:admin --data {found}",
            code="not_running",
        )
    body = {"claim": arguments.word or _written_claim(found)}
    if arguments.name is not None:
        body["name"] = arguments.name
    return _client(found, None, arguments).send("POST", "/outpost/v1/claim", body).body


def _written_claim(target: Target) -> str:
    """What the daemon of this machine has written for its own user and root."""
    record = Path(target.source)
    if record.name != "daemon.json":
        raise Failure(
            Exit.USAGE, "name the claim that stands on the console: outpost keys claim CLAIM", code="usage"
        )
    path = record.with_name("claim")
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise Failure(
            Exit.NO_INPUT,
            f"{path}: {told}; name the claim that stands on the console: outpost keys claim CLAIM",
            code="no_such_file",
        ) from error


@contextmanager
def _own(data: Path, config: Path | None) -> Iterator[KeyStore]:
    from appliance.access.key_store import KeyStore  # noqa: PLC0415 - only where no daemon runs
    from appliance.cli.local_failures import failures  # noqa: PLC0415
    from appliance.cli.own_audit import own_audit  # noqa: PLC0415
    from appliance.config import load  # noqa: PLC0415
    from appliance.daemon.access import configured_keys  # noqa: PLC0415
    from appliance.daemon.audited_keys import AuditedKeys  # noqa: PLC0415
    from appliance.daemon.directory import lock_of  # noqa: PLC0415
    from appliance.log import configure  # noqa: PLC0415

    if config is not None and not config.exists():
        raise Failure(Exit.NO_INPUT, f"--config {config}: no such file", code="no_such_file")
    configure(level="warning")
    with failures():
        settings = load(config, overrides={"data.dir": data.expanduser().absolute()})
        with lock_of(settings.data.dir):
            keys = KeyStore(settings.data.dir, configured=configured_keys(settings))
            try:
                audit = own_audit(settings)
                if audit is not None:
                    keys.log_to(AuditedKeys(audit))
                yield keys
            finally:
                keys.close()


def _warn(text: str) -> None:
    print(f"outpost: warning: {printable(text)}", file=sys.stderr)


def _client(target: Target, key: str | None, arguments: argparse.Namespace) -> Client:
    from appliance.cli.client import Client  # noqa: PLC0415 - HTTP, only where a daemon is asked

    return Client(target, key=key, timeout_s=arguments.timeout)


def _found(arguments: argparse.Namespace) -> Target | Path:
    return discover_store(host=arguments.host, data=arguments.data, environ=os.environ, alive=process_alive)


def _path(key_id: str) -> str:
    return f"/{quote(key_id, safe='')}"
