"""A real ext4 whose writes are logged, replayed to every request, with random losses since the last flush."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.crash.actor import play
from tests.crash.block_log import DiskState, disk_states, read_log
from tests.crash.judge import violations
from tests.crash.logged_disk import has_sound_file_system, logged_disk, mounted_image
from tests.crash.pool import spread
from tests.crash.scenarios import SCENARIOS
from tests.crash.tracing import prepare_root

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

LEAST_STATES = 500
_PER_SCENARIO = 28
_CHECKED_EVERY = 10
"""So many states of which one is shown to e2fsck."""

BUGS = {
    "no data sync": "first import",
    "name dropped first": "replace tag",
    "blobs unsynced": "export to a directory",
}
"""Those that ext4 does not hide, each with a scenario where it must be found."""


def test_a_real_file_system_cut_at_any_write_keeps_the_store(memory: Path, tally: Counter[str]) -> None:
    results = spread(partial(cut, memory), SCENARIOS)
    count = sum(count for count, _ in results)
    tally["states of a real ext4"] += count
    found = [text for _, texts in results for text in texts]
    assert not found, "\n".join(found[:20])
    assert count >= LEAST_STATES


def test_seeded_bugs_are_found_on_a_real_file_system(memory: Path, tally: Counter[str]) -> None:
    results = spread(partial(_found_of, memory), BUGS)
    missed = [bug for bug, found in zip(BUGS, results, strict=True) if not found]
    tally["seeded bugs found"] += len(BUGS) - len(missed)
    assert not missed, f"nobody noticed {missed}"


def _found_of(memory: Path, bug: str) -> list[str]:
    folder = memory / bug.replace(" ", "-")
    folder.mkdir()
    return cut(folder, BUGS[bug], bug=bug, enough=1)[1]


def cut(memory: Path, name: str, *, bug: str = "", enough: int | None = None) -> tuple[int, list[str]]:
    """How many states of the disk were judged, and what is wrong with them, in words; `enough` ends it."""
    folder = memory / name.replace(" ", "-")
    folder.mkdir()
    found, count = list[str](), 0
    for number, state in enumerate(played(name, folder, bug=bug)):
        count = number + 1
        for text in judged(state, name, folder, checks=number % _CHECKED_EVERY == 0):
            found.append(f"{name}, after {state.entries} writes, kept {state.kept}: {text}")
        if enough is not None and len(found) >= enough:
            break
    return count, found


def played(name: str, folder: Path, *, bug: str = "") -> Iterator[DiskState]:
    """The states of the disk while the scenario ran, each with what had been promised by then."""
    with logged_disk(folder) as disk:
        prepare_root(name, disk.mounted / "store")
        subprocess.run(["sync", "-f", str(disk.mounted)], check=True)
        begun = len(read_log(disk.log))
        with disk.marks() as marks:
            done = play(name, disk.mounted / "store", bug=bug, said_to=marks)
        assert done.code == 0, done.complaint
        subprocess.run(["sync", "-f", str(disk.mounted)], check=True)
    entries = read_log(disk.log)
    base = disk.base.read_bytes()
    return disk_states(base, entries, seed=2, subsets=8, most=_PER_SCENARIO, from_entry=begun)


def judged(state: DiskState, name: str, folder: Path, *, checks: bool) -> list[str]:
    image, mounted = folder / "state", folder / "state-mounted"
    mounted.mkdir(exist_ok=True)
    image.touch()
    with image.open("r+b") as file:  # over the last one: its pages are there
        file.write(state.image)
    with mounted_image(image, mounted, options="loop,noatime"):
        found = violations(mounted / "store", SCENARIOS[name], state.marks)
    if checks and (unsound := has_sound_file_system(image)):
        found.append(f"e2fsck: {unsound}")
    return found
