"""What every child of the daemon does first and last, whatever its work is."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from appliance.runner import sandbox
from appliance.runner.serve import last_words
from appliance.wire.messages import Loading

EX_SOFTWARE = 70
_PROGRESS_INTERVAL_S = 0.1


def parse(argv: Sequence[str], *, program: str) -> argparse.Namespace:
    """`fd`, `parent`, `sandbox`, `name`: what `supervisor/process.py` tells."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--sandbox", choices=sandbox.MODES, default="auto")
    parser.add_argument("--name", default="", help="the model, for ps")
    return parser.parse_args(argv)


def progress(send: Callable[[Loading], None]) -> Callable[[float], None]:
    """llama.cpp reports per tensor; a few a second are enough for anybody."""
    told_s = 0.0

    def tell(share: float) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= _PROGRESS_INTERVAL_S:
            told_s = now_s
            send(Loading(progress=share))

    return tell


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
