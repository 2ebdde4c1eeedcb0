"""The threads that serve requests: made on demand, up to a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.task import ThreadedTaskDispatcher


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Workers on demand: an idle Outpost holds no stacks for the fifty streams of the afternoon."""

    def __init__(self, max_threads: int) -> None:
        super().__init__()
        self._max_threads = max_threads
        self._is_over = False

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        thread = threading.Thread(target=target, name=f"http-{thread_no}", args=(thread_no,), daemon=True)
        thread.start()

    def add_task(self, task: Any) -> None:
        """Loop thread, and workers with a pipelined request."""
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            running = len(self.threads) - self.stop_count
            idle = running - self.active_count
            is_short = len(self.queue) > idle and running < self._max_threads and not self._is_over
        if is_short:
            self.set_thread_count(running + 1)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no worker works. Polls: waitress has no signal for it, and this runs once in a life."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with self.lock:
                if self.active_count == 0 and not self.queue:
                    return True
            time.sleep(0.02)
        return False

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:  # noqa: FBT001, FBT002
        """In the form of waitress."""
        with self.lock:
            self._is_over = True
        return bool(super().shutdown(cancel_pending, timeout))
