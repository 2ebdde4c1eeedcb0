"""What every child of the daemon does first and last, whatever its work is."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from appliance.runner import sandbox
from appliance.runner.serve import last_words

EX_SOFTWARE = 70


def parse(argv: Sequence[str], *, program: str) -> argparse.Namespace:
    """`fd`, `parent`, `sandbox`, `name`: what `supervisor/process.py` tells."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--sandbox", choices=sandbox.MODES, default="auto")
    parser.add_argument("--name", default="", help="the model, for ps")
    return parser.parse_args(argv)


def leave(main: Callable[[], int]) -> NoReturn:
    """Run `main` as a whole process. Leaves by _exit: the kernel frees a model faster than its destructors
    do, and they can crash.
    """
    try:
        code = main()
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the daemon is gone
    except BaseException as fault:  # noqa: BLE001  # process top
        last_words(fault)
        code = EX_SOFTWARE
    sys.stderr.flush()
    os._exit(code)
