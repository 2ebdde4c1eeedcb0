from __future__ import annotations

import ctypes
import os
import threading
from typing import Final

import pytest

from appliance.daemon.idle_priority import take_idle_priority

IOPRIO_GET: Final = {"x86_64": 252, "aarch64": 31, "riscv64": 31}
IDLE_CLASS: Final = 3


def io_class() -> int:
    """That of the calling thread, from the kernel."""
    number = IOPRIO_GET[os.uname().machine]
    return int(ctypes.CDLL(None).syscall(number, 1, 0)) >> 13


@pytest.mark.skipif(os.uname().machine not in IOPRIO_GET, reason="number of the system call unknown")
def test_a_thread_that_takes_it_computes_and_reads_last_and_no_other_thread_does() -> None:
    told: list[tuple[int, int]] = []

    def lower() -> None:
        take_idle_priority()
        told.append((os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), io_class()))

    before = os.getpriority(os.PRIO_PROCESS, 0), io_class()
    thread = threading.Thread(target=lower, name="lowered")
    thread.start()
    thread.join()
    assert told == [(19, IDLE_CLASS)]
    assert (os.getpriority(os.PRIO_PROCESS, 0), io_class()) == before
