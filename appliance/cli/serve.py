"""`outpost serve`: flags over the configuration file, then the daemon in this process.

The one command that is no client: it loads the daemon, and nothing else of the CLI does.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from appliance.cli.exits import Exit, Failure

_LOOK_S: Final = 0.05


def main(arguments: argparse.Namespace) -> int:
    """Returns when the daemon has stopped. Raises ConfigError for a value or combination that cannot be
    served.
    """
    check_files(arguments)
    # The daemon's imports cost a second on a small board: the other commands and `--help` go without them.
    from appliance import config as configuration  # noqa: PLC0415

    config = configuration.load(arguments.config, overrides=overrides_of(arguments))
    configuration.require_keys_for_public_bind(config)
    unknown = [name for name in arguments.preload if name not in config.models]
    if unknown:
        known = ", ".join(config.models) or "none"
        raise Failure(
            Exit.USAGE,
            f"--preload {unknown[0]}: no such model is configured; there are: {known}",
            code="usage",
        )
    from appliance import daemon  # noqa: PLC0415

    with announced(config.data.dir):
        return daemon.main(config, preload=arguments.preload)


@contextmanager
def announced(directory: Path) -> Iterator[None]:
    """Print the line with the address as soon as the daemon of this process has put its record into
    `directory`.

    The thread `serve-announce` looks until then and ends.
    """
    record = directory / "daemon.json"
    stale = _stamp(record)
    stopped = threading.Event()

    def announce() -> None:
        while not stopped.wait(_LOOK_S):
            # A record left by a crash may even carry our pid (in a container): only a new file counts.
            address = None if _stamp(record) == stale else _address_of(record)
            if address is not None:
                with suppress(OSError):
                    print(f"outpost: listening on http://{address}", flush=True)
                return

    thread = threading.Thread(target=announce, name="serve-announce", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(timeout=1.0)


def _stamp(record: Path) -> tuple[int, int] | None:
    try:
        status = record.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _address_of(record: Path) -> str | None:
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        return str(told["address"]) if told["pid"] == os.getpid() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_files(arguments: argparse.Namespace) -> None:
    """Raises Failure for a file that is named and not there, before anything heavy is loaded."""
    names = [name for name, _ in arguments.model]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise Failure(
            Exit.USAGE,
            f"--model {doubled}=… is given more than once; each name serves one file",
            code="usage",
        )
    for name, path in arguments.model:
        file = path.expanduser()
        if not file.is_file():
            raise Failure(Exit.NO_INPUT, f"--model {name}={path}: no such file", code="no_such_file")
    if arguments.config is not None and not arguments.config.exists():
        raise Failure(Exit.NO_INPUT, f"--config {arguments.config}: no such file", code="no_such_file")


def overrides_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags as the dotted keys that `config.load` lays over the file."""
    flags: dict[str, Any] = {
        "server.listen": arguments.listen,
        "data.dir": _absolute(arguments.data),
        "engine.n_ctx_seq": arguments.ctx,
        "engine.n_seq_max": arguments.parallel,
        "engine.n_threads": arguments.threads,
        "log.level": arguments.log_level,
        "log.format": arguments.log_format,
        "models": dict(arguments.model) or None,
    }
    return {key: value for key, value in flags.items() if value is not None}


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().absolute()
