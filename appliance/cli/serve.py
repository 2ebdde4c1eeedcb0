"""`outpost serve`: flags over the configuration file, then the daemon in this process.

The one command that is no client: it loads the daemon, and nothing else of the CLI does.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from appliance.cli.exits import Exit, Failure


def main(arguments: argparse.Namespace) -> int:
    """Returns when the daemon has stopped. Raises ConfigError for a value or combination that cannot be
    served.
    """
    check_files(arguments)
    # The daemon's imports cost a second on a small board: the other commands and `--help` go without them.
    from appliance import config as configuration  # noqa: PLC0415

    config = configuration.load(arguments.config, overrides=overrides_of(arguments))
    from appliance.daemon import composition  # noqa: PLC0415

    return composition.main(config, preload=arguments.preload, on_ready=announce)


def announce(url: str) -> None:
    """The one line on stdout: the log goes to stderr, so that a script reads the address and nothing else."""
    try:
        print(f"outpost: listening on {url}", flush=True)
    except (OSError, ValueError):
        # Nobody reads it (any more): no reason not to serve, nor to fail on the leftover at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        "engine.device": arguments.device,
        "log.level": arguments.log_level,
        "log.format": arguments.log_format,
        "models": dict(arguments.model) or None,
    }
    return {key: value for key, value in flags.items() if value is not None}


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().absolute()
