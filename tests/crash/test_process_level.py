"""The process is killed at a system call, or a call fails: nothing is lost, and the next try works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.judge import violations
from tests.crash.play import EX_REFUSED
from tests.crash.scenarios import SCENARIOS
from tests.crash.tracing import play_with, prepare_root

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

NAME = "second import sharing blobs"
CALLS = ("openat", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "mkdir", "fallocate")


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_a_call_loses_nothing(memory: Path, call: str) -> None:
    for place in range(1, 40, 3):
        root = memory / f"{call}-{place}" / "store"
        prepare_root(NAME, root)
        done = play_with(f"inject={call}:signal=KILL:when={place}", NAME, root)
        found = violations(root, SCENARIOS[NAME], done.stdout.splitlines())
        assert not found, f"killed at {call} number {place}: {found}"
        if done.returncode == 0:
            return  # the scenario has no more of these calls


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EMFILE"])
@pytest.mark.parametrize("call", ["openat", "pwrite64", "fsync", "fdatasync", "rename", "fallocate"])
def test_an_error_at_a_call_is_typed_and_loses_nothing(memory: Path, call: str, fault: str) -> None:
    for place in range(1, 60, 9):
        root = memory / f"{call}-{place}" / "store"
        prepare_root(NAME, root)
        done = play_with(f"inject={call}:error={fault}:when={place}", NAME, root)
        assert done.returncode in {0, EX_REFUSED}, (
            f"{call} number {place} gave {fault}: {done.stderr[-1500:]}"
        )
        found = violations(root, SCENARIOS[NAME], done.stdout.splitlines())
        assert not found, f"{fault} at {call} number {place}: {found}"
        if done.returncode == 0 and place > 1:
            return
