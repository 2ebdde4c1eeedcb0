"""Where the daemon is, looked up in this order.

1. `--host`
2. `--data DIR`: the address in DIR/daemon.json; no other place is tried, because DIR was named
3. the variable OUTPOST_HOST
4. ./.outpost/daemon.json, then daemon.json in the default data directory, each only while its process lives
5. http://127.0.0.1:11434

The daemon writes `daemon.json` when it is ready and removes it when it stops; after a crash its pid is dead.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from appliance.cli.exits import Exit, Failure

DEFAULT_PORT: Final = 11434
DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}"
DEFAULT_DATA: Final = (Path(".outpost"), Path("/var/lib/outpost"))

_DEFAULT_SOURCE: Final = "the default address"
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (read, not bound)


class Target(NamedTuple):
    url: str
    """Without a slash at the end."""
    source: str
    """Where it comes from, for messages."""


def discover(
    *,
    host: str | None,
    data: Path | None,
    environ: Mapping[str, str],
    defaults: tuple[Path, ...] = DEFAULT_DATA,
    alive: Callable[[int], bool],
) -> Target:
    """Raises Failure when what the caller named is malformed or holds no running daemon."""
    if host is not None:
        return Target(to_url(host), "--host")
    if data is not None:
        url = running_in(data, alive)
        if url is None:
            raise Failure(
                Exit.UNAVAILABLE, f"no daemon runs in {data}; start one with: outpost serve --data {data}"
            )
        return Target(url, str(data / "daemon.json"))
    if environ.get("OUTPOST_HOST"):
        return Target(to_url(environ["OUTPOST_HOST"]), "OUTPOST_HOST")
    for directory in defaults:
        url = running_in(directory, alive)
        if url is not None:
            return Target(url, str(directory / "daemon.json"))
    return Target(DEFAULT_URL, _DEFAULT_SOURCE)


def discover_store(
    *,
    host: str | None,
    data: Path | None,
    environ: Mapping[str, str],
    defaults: tuple[Path, ...] = DEFAULT_DATA,
    alive: Callable[[int], bool],
) -> Target | Path:
    """The daemon to ask for its store, in the order of `discover`; or the data directory whose store to open,
    where no daemon runs: `--data DIR`, else the first default one that has a store.
    """
    if host is None and data is not None:
        url = running_in(data, alive)
        return Target(url, str(data / "daemon.json")) if url else data
    target = discover(host=host, data=None, environ=environ, defaults=defaults, alive=alive)
    if target.source != _DEFAULT_SOURCE:
        return target
    return next((directory for directory in defaults if (directory / "store").is_dir()), target)


def running_in(directory: Path, alive: Callable[[int], bool]) -> str | None:
    """The URL of the daemon that lives in `directory`, or None."""
    try:
        record = json.loads((directory / "daemon.json").read_text())
        address, pid = record["address"], record["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(address, str) or not isinstance(pid, int) or not alive(pid):
        return None
    return to_url(address)


def to_url(text: str) -> str:
    """`host`, `host:port`, `:port`, `[v6]:port` or a URL, as a URL one can connect to."""
    given = text.strip()
    if "://" not in given:
        given = f"http://127.0.0.1{given}" if given.startswith(":") else f"http://{given}"
    hint = f"write HOST:PORT, for example 127.0.0.1:{DEFAULT_PORT}, or a URL"
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Failure(Exit.USAGE, f"'{text}' is no address ({error}); {hint}") from error
    if host is None or parts.scheme not in {"http", "https"}:
        raise Failure(Exit.USAGE, f"'{text}' is no address; {hint}")
    host = _ANY_ADDRESS.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    if port is None and "://" not in text:
        port = DEFAULT_PORT
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "") + path


def is_this_machine(url: str) -> bool:
    """Whether files named to the server at `url` are ours."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def process_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return pid < 2**31
    return True


def read_key(key_file: Path | None, environ: Mapping[str, str]) -> str | None:
    """The API key: the first line of `--key-file`, else OUTPOST_API_KEY, else none."""
    if key_file is None:
        key = environ.get("OUTPOST_API_KEY") or None
        return None if key is None else _sendable(key, "OUTPOST_API_KEY")
    try:
        lines = key_file.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(Exit.NO_INPUT, f"cannot read the key file {key_file}: {error}") from error
    if not lines:
        raise Failure(Exit.DATA, f"the key file {key_file} is empty")
    return _sendable(lines[0], f"the key file {key_file}")


def _sendable(key: str, source: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise Failure(Exit.DATA, f"what {source} holds is no key: keys are letters, digits, - and _")
    return key
