"""Jobs for the daemon's main thread.

Runners must be spawned there: a child's PR_SET_PDEATHSIG fires when the *thread* that made it ends, so a
child of a worker thread would die with that worker. The main thread therefore has this one loop: jobs,
signals, and a beat for the watchdog.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Job = Callable[[bool], None]
"""Called with True to do its work, with False when the spawner has ended: it must then answer its asker."""


class Spawner:
    """`run` belongs to the main thread; `submit` and `stop` to any, `stop` also to a signal handler."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, job: Job) -> None:
        """Run `job` on the main thread, in turn. After `close`, it is called with False, here."""
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._jobs.put(job)
        if is_closed:
            job(False)

    def stop(self) -> None:
        """Let `run` return after the job at hand."""
        self._jobs.put(None)

    def run(self, *, beat: Callable[[], None] | None = None, every_s: float | None = None) -> None:
        """Until `stop`. Calls `beat` when nothing happened for `every_s`, so at least that often while
        idle.
        """
        while True:
            try:
                job = self._jobs.get(timeout=every_s)
            except Empty:
                job = _idle
            if job is None:
                return
            job(True)
            if beat is not None:
                beat()

    def close(self) -> None:
        """After `run` has returned: no more jobs; those that wait are called with False."""
        with self._lock:
            self._is_closed = True
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                job(False)


def _idle(_: object) -> None:
    """Nothing to do but the beat."""
