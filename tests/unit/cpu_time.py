"""How much processor time a call takes, so that a unit test can hold it to a limit and not be flaky."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

_TRIES: Final = 3


def least_cpu_s(call: Callable[[], object]) -> float:
    """The least processor time of three calls of `call`, seconds of this thread.

    What other threads and processes compute does not count, nor does the collector's walk over what other
    tests have left in memory; one slow try (a page fault, a neighbour who takes the cache) does not decide.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return min(_cpu_s(call) for _ in range(_TRIES))
    finally:
        if was_enabled:
            gc.enable()


def _cpu_s(call: Callable[[], object]) -> float:
    started_s = time.thread_time()
    call()
    return time.thread_time() - started_s
