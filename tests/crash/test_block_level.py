"""A real ext4 whose writes are logged, replayed to every request, with random losses since the last flush."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.block_log import DiskState, disk_states, read_log
from tests.crash.judge import violations
from tests.crash.logged_disk import has_sound_file_system, logged_disk, mounted_image
from tests.crash.scenarios import SCENARIOS
from tests.crash.tracing import prepare_root

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

LEAST_STATES = 500
_PLAYED = ("first import", "replace tag", "delete and collect", "resume of a half copy")
_PER_SCENARIO = 130


def test_a_real_file_system_cut_at_any_write_keeps_the_store(
    memory: Path, record_property: Callable[[str, object], None]
) -> None:
    count, found = 0, list[str]()
    for name in _PLAYED:
        folder = memory / name.replace(" ", "-")
        folder.mkdir()
        states, said = played(name, folder)
        for number, state in enumerate(states):
            for text in judged(state, said, name, folder, number):
                found.append(f"{name}, after {state.entries} writes, kept {state.kept}: {text}")
        count += len(states)
    record_property("states", count)
    assert not found, "\n".join(found[:20])
    assert count >= LEAST_STATES


def played(name: str, folder: Path) -> tuple[list[DiskState], tuple[str, ...]]:
    """The states of the disk while the scenario ran, and what it said. Acknowledgements have no place in the
    log of a disk: they are judged in the last state.
    """
    with logged_disk(folder) as (mounted, base):
        prepare_root(name, mounted / "store")
        subprocess.run(["sync", "-f", str(mounted)], check=True)
        begun = len(read_log(folder / "log"))
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.play", name, str(mounted / "store")],
            capture_output=True,
            text=True,
            check=True,
        )
        subprocess.run(["sync", "-f", str(mounted)], check=True)
    entries = read_log(folder / "log")
    states = disk_states(base.read_bytes(), entries, seed=2, subsets=8, most=_PER_SCENARIO, from_entry=begun)
    return list(states), tuple(done.stdout.splitlines())


def judged(state: DiskState, said: tuple[str, ...], name: str, folder: Path, number: int) -> list[str]:
    image, mounted = folder / "state", folder / "state-mounted"
    image.write_bytes(state.image)
    mounted.mkdir(exist_ok=True)
    is_last = number == _PER_SCENARIO - 1
    said = said if is_last else tuple(line for line in said if line.startswith("TRY"))
    with mounted_image(image, mounted, options="loop,noatime"):
        found = violations(mounted / "store", SCENARIOS[name], said)
    if number % 10 == 0 and (unsound := has_sound_file_system(image)):
        found.append(f"e2fsck: {unsound}")
    return found
