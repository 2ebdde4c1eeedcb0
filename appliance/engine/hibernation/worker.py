"""A thread that does one slow thing after the other, and says so."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol


class Work(Protocol):
    """What the hibernator needs of a thread; tests have one that is none."""

    def submit(self, job: Callable[[], None], /) -> None: ...

    def close(self) -> None: ...


class Worker:
    """`submit` and `close` from one thread. Jobs are done in order and tell by themselves how it went."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], /) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """Ends when what was submitted is done; waits for that, but not for a disk that hangs."""
        self._jobs.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001  # thread top: the next job may go well
                traceback.print_exc()
