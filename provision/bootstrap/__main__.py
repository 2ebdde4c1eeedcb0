"""The commands behind the Makefile's targets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from provision.bootstrap import (
    background,
    clients,
    debian,
    environment,
    examples,
    kernels,
    llama,
    locks,
    places,
    starter_model,
)
from provision.bootstrap.steps import BootstrapError, say

_EX_UNAVAILABLE: Final = 69


def main() -> int:
    parser = argparse.ArgumentParser(prog="provision/bootstrap/start", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="set up, start the daemon, wait until it is ready, print examples")
    run.add_argument("--listen", metavar="HOST:PORT", help=f"default: {background.DEFAULT_ADDRESS}")
    stop = commands.add_parser("stop", help="stop the daemon")
    for command in (run, stop):
        command.add_argument(
            "--data",
            metavar="DIR",
            type=Path,
            default=places.DATA,
            help="its data directory (default: %(default)s)",
        )
    commands.add_parser("setup", help="all that tests need: environment, llama.cpp, starter model")
    commands.add_parser("tools", help="the environment for checks and unit tests: neither compiler nor model")
    commands.add_parser("lock", help="write the locks anew")
    arguments = parser.parse_args()
    try:
        if arguments.command == "run":
            _run(arguments.listen, arguments.data.absolute())
        elif arguments.command == "stop":
            background.stop(data=arguments.data.absolute())
        else:
            {"setup": _setup, "tools": _tools, "lock": locks.write}[arguments.command]()
    except BootstrapError as error:
        sys.stdout.flush()
        print(f"error: {error}\n  → {error.hint}", file=sys.stderr)
        return _EX_UNAVAILABLE
    return 0


def _run(wanted: str | None, data: Path) -> None:
    _prepare("run")
    address = background.start(wanted, starter_model.ensure(), data=data)
    needs_key = background.needs_key(address)
    say(examples.render(address=address, model=starter_model.NAME, needs_key=needs_key))


def _setup() -> None:
    debian.ensure(debian.TO_TEST)
    _prepare("dev")
    clients.ensure()
    starter_model.ensure()


def _tools() -> None:
    debian.ensure(debian.TO_RUN)
    environment.ensure("dev")


def _prepare(level: environment.Level) -> None:
    debian.ensure(debian.TO_RUN)
    environment.ensure(level)
    wheel, key = llama.ensure()
    environment.ensure_wheel(wheel, key)
    kernels.ensure(key)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
