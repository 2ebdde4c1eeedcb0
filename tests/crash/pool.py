"""Work spread over all cores, in children of a small process that has imported what they need.

Not forked from here: at the end of a run of all tests this process is large, and each of a thousand forks
would copy its page tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from tests.crash.actor import obey_modes

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(work: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 1) -> list[Result]:
    """Results in the order of the items. `at_once`: items that a child takes together. A child is not above
    the modes of files.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.judge", "tests.crash.scenarios"])
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=obey_modes) as pool:
        return list(pool.map(work, items, chunksize=at_once))
