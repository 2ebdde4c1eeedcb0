"""The `outpost` command: parse, run one command, and turn however it ends into one line and an exit code.

Commands are imported on demand: `outpost --help` loads no HTTP client and no prompt_toolkit, and nothing but
`serve`, and the store's commands where no daemon runs, loads the daemon's parts.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from appliance.cli.exits import Exit, Failure
from appliance.cli.parser import parse
from appliance.cli.terminal import printable

_MODULES: Final = {
    "serve": "appliance.cli.serve",
    "run": "appliance.cli.run",
    "pull": "appliance.cli.pull",
    "push": "appliance.cli.push",
    "create": "appliance.cli.create",
    "import": "appliance.cli.imports",
    "export": "appliance.cli.export",
    "show": "appliance.cli.show",
    "list": "appliance.cli.listing",
    "optimize": "appliance.cli.optimize",
    "calibrate": "appliance.cli.calibrate",
    "cp": "appliance.cli.cp",
    "rm": "appliance.cli.rm",
    "verify": "appliance.cli.verify",
    "gc": "appliance.cli.gc",
    "load": "appliance.cli.load",
    "stop": "appliance.cli.stop",
    "fit": "appliance.cli.fit",
    "hibernation": "appliance.cli.hibernation",
    "keys": "appliance.cli.keys",
    "ps": "appliance.cli.ps",
    "queue": "appliance.cli.queue",
    "usage": "appliance.cli.usage",
    "audit": "appliance.cli.audit",
    "requests": "appliance.cli.requests",
    "cancel": "appliance.cli.cancel",
    "bench": "appliance.cli.bench",
    "hardware": "appliance.cli.hardware",
    "health": "appliance.cli.health",
    "version": "appliance.cli.version",
}

_SHORT: Final = frozenset(
    {
        "show",
        "list",
        "cp",
        "rm",
        "load",
        "stop",
        "hibernation",
        "keys",
        "ps",
        "queue",
        "usage",
        "audit",
        "requests",
        "cancel",
        "health",
        "version",
    }
)
"""They end before there is garbage worth looking for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code. Each command module has `main(arguments) -> int`."""
    _open_missing_streams()
    code = _outcome(sys.argv[1:] if argv is None else argv)
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)  # a log nobody reads must not turn into the interpreter's own exit code 120
    return code


def _outcome(argv: Sequence[str]) -> int:
    arguments = argparse.Namespace(json=False)
    try:
        code = _command(argv, arguments)
        # A pipe closed by its reader must show here and not in the interpreter's own flush at exit.
        sys.stdout.flush()
    except Failure as failure:
        return _report(failure, as_json=arguments.json)
    except KeyboardInterrupt:
        return _quiet(Exit.INTERRUPTED)
    except BrokenPipeError:
        return _quiet(Exit.PIPE_CLOSED)
    except Exception as error:  # noqa: BLE001 - the top of the process: a bug must not look like another code
        return _unforeseen(error, as_json=arguments.json)
    return code


def _unforeseen(error: Exception, *, as_json: bool) -> int:
    """An error of the tree, met by this process itself, or a bug of ours."""
    import traceback  # noqa: PLC0415 - it and the tree of errors take long to load and are seldom needed

    from appliance.cli.own_errors import of_error  # noqa: PLC0415
    from appliance.errors import OutpostError  # noqa: PLC0415

    if isinstance(error, OutpostError):
        failure = Failure(of_error(error), error.message, code=type(error).__name__)
        return _report(failure, as_json=as_json)
    traceback.print_exception(error)
    return Exit.INTERNAL


def _open_missing_streams() -> None:
    """Started with `>&-`: without this the next file or socket opened would become our stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _command(argv: Sequence[str], arguments: argparse.Namespace) -> int:
    try:
        name = parse(argv, arguments)
    except SystemExit as end:  # --help and --version, after their text is printed
        return int(end.code or 0)
    module = importlib.import_module(_MODULES[name])
    if name not in _SHORT:
        gc.enable()  # `__main__` has put it off
    return int(module.main(arguments))


def _report(failure: Failure, *, as_json: bool) -> int:
    """One line on stderr; with `--json` an error object on stdout as well, so that a script always reads
    JSON.
    """
    try:
        if as_json:
            import json  # noqa: PLC0415 - only for this

            print(
                json.dumps(
                    {
                        "error": {
                            "message": failure.message,
                            "code": failure.code,
                            "exit": int(failure.exit_code),
                        }
                    }
                )
            )
        sys.stdout.flush()
        print(f"outpost: {printable(' '.join(failure.message.split()))}", file=sys.stderr)
    except BrokenPipeError:
        return _quiet(Exit.PIPE_CLOSED)
    return failure.exit_code


def _quiet(code: Exit) -> int:
    """End without a word, even if stdout is a broken pipe with text still in its buffer."""
    _discard(sys.stdout)
    return code


def _discard(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
