from __future__ import annotations

import pytest

from appliance.errors import (
    GpuUnavailable,
    InsufficientMemory,
    ModelInvalid,
    ModelQuarantined,
    OutpostError,
    RunnerDied,
)
from appliance.supervisor.history import FileStamp, Go, GoLater, History, Refuse, Verdict
from appliance.supervisor.policy import RunnerPolicy

POLICY = RunnerPolicy(max_crashes=3, backoff_s=1.0, max_backoff_s=10.0, quarantine_s=100.0)
FILE = FileStamp(mtime_ns=1, size_bytes=1, inode=1)
NEW_FILE = FileStamp(mtime_ns=2, size_bytes=1, inode=1)
CRASH = RunnerDied(model="m", cause="SIGSEGV")
INVALID = ModelInvalid(model="m", reason="no tokenizer")


def crashed(times: int, *, at_s: float = 0.0) -> History:
    history = History()
    for _ in range(times):
        history = history.after(CRASH, now_s=at_s, stamp=FILE)
    return history


def verdict(history: History, now_s: float, stamp: FileStamp | None = FILE) -> Verdict:
    return history.verdict("m", now_s=now_s, stamp=stamp, policy=POLICY)


def test_without_a_fault_it_goes() -> None:
    assert verdict(History(), 0.0) == Go()


@pytest.mark.parametrize(("crashes", "at_s"), [(1, 1.0), (2, 2.0)])
def test_the_backoff_doubles(crashes: int, at_s: float) -> None:
    assert verdict(crashed(crashes), 0.0) == GoLater(at_s=at_s)
    assert verdict(crashed(crashes), at_s) == Go()


def test_the_backoff_has_a_bound() -> None:
    history = History()
    for _ in range(40):
        history = history.after(INVALID, now_s=0.0, stamp=FILE)
    found = verdict(history, 0.0)
    assert isinstance(found, Refuse)
    assert found.until_s == 10.0


def test_three_crashes_in_a_row_are_a_quarantine_with_its_reason() -> None:
    found = verdict(crashed(3), 40.0)
    assert isinstance(found, Refuse)
    assert isinstance(found.error, ModelQuarantined)
    assert found.error.retry_after_s == 60.0
    assert "3 crashes in a row (last: SIGSEGV)" in found.error.message


def test_after_the_quarantine_there_is_one_attempt_and_then_quarantine_again() -> None:
    assert verdict(crashed(3), 100.0) == Go()
    again = crashed(3).after(CRASH, now_s=100.0, stamp=FILE)
    assert isinstance(verdict(again, 101.0), Refuse)


def test_another_file_ends_quarantine_and_begins_a_new_row() -> None:
    assert verdict(crashed(3), 1.0, NEW_FILE) == Go()
    assert crashed(3).after(CRASH, now_s=1.0, stamp=NEW_FILE).crashes == 1


def test_invalid_content_is_answered_again_until_the_backoff_has_passed() -> None:
    history = History().after(INVALID, now_s=0.0, stamp=FILE)
    assert verdict(history, 0.5) == Refuse(error=INVALID, until_s=1.0)
    assert verdict(history, 1.0) == Go()
    assert history.crashes == 0


@pytest.mark.parametrize(
    "fault",
    [
        GpuUnavailable(model="m", reason="it was loaded on the CPU"),
        InsufficientMemory(model="m", needed_bytes=2, available_bytes=3, reason="nvmap_fragmented"),
    ],
)
def test_what_the_board_lacks_is_no_crash_and_is_answered_the_same_until_the_backoff_is_over(
    fault: OutpostError,
) -> None:
    history = History()
    for _ in range(9):
        history = history.after(fault, now_s=0.0, stamp=FILE)
    assert (history.crashes, history.refusals) == (0, 9)
    assert verdict(history, 9.9) == Refuse(error=fault, until_s=10.0)
    assert verdict(history, 10.0) == Go()
    assert history.reason(POLICY) == fault.message
