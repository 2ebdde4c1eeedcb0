"""The process is killed at a system call, or a call fails: nothing is lost, and the next try works."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.crash.call_points import Point
from tests.crash.pool import spread
from tests.crash.replay import Hit, replay
from tests.crash.tracing import points_of, prepare_root

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

KILLED = (
    "second import sharing blobs",
    "delete and collect",
    "quarantine and repair",
    "quarantine and collect",
    "download of a URL",
    "export to a directory",
    "export to a tar",
    "index built again",
)
FAILED = {"second import sharing blobs": ("ENOSPC", "EIO", "EMFILE"), "quarantine and repair": ("EIO",)}
"""With the errors that their calls give: one that changes something ENOSPC, one that opens EMFILE."""
LEAST_KILLS = {
    "openat": 45,
    "fsync": 80,
    "unlink": 40,
    "rename": 30,
    "pwrite64": 30,
    "mkdir": 20,
    "fchmod": 5,
    "ftruncate": 5,
    "fallocate": 5,
    "linkat": 1,
}
LEAST_FAULTS = {
    "openat": 80,
    "fsync": 50,
    "unlink": 25,
    "rename": 20,
    "pwrite64": 20,
    "mkdir": 10,
    "fchmod": 5,
    "ftruncate": 5,
    "fallocate": 5,
    "newfstatat": 50,
    "pread64": 15,
    "getdents64": 10,
}
"""So that the proof cannot become empty: fewer of a kind fail the test."""


def prepared(name: str, memory: Path, *, bug: str = "") -> tuple[Path, list[Point]]:
    """The store as the scenario finds it, and the calls that it makes there."""
    folder = memory / name.replace(" ", "-")
    root = folder / "prepared"
    prepare_root(name, root)
    (folder / "watched").mkdir()
    return root, points_of(name, root, folder / "watched", bug=bug)


def test_a_kill_at_any_call_loses_nothing(memory: Path, tally: Counter[str]) -> None:
    hits = []
    for name in KILLED:
        root, points = prepared(name, memory)
        hits += [Hit(name, root, point) for point in points if point.changes]
    found = [text for texts in spread(replay, hits, at_once=4) for text in texts]
    tally["kills"] += len(hits)
    assert not found, "\n".join(found[:20])
    _assert_each_kind(hits, LEAST_KILLS)


def test_an_error_at_any_call_is_typed_and_loses_nothing(memory: Path, tally: Counter[str]) -> None:
    hits = []
    for name, errors in FAILED.items():
        root, points = prepared(name, memory)
        hits += [Hit(name, root, point, error) for point in points for error in _errors_of(point, errors)]
    found = [text for texts in spread(replay, hits, at_once=4) for text in texts]
    tally["faults"] += len(hits)
    assert not found, "\n".join(found[:20])
    _assert_each_kind(hits, LEAST_FAULTS)


def test_a_kill_finds_an_index_that_is_written_in_place(memory: Path, tally: Counter[str]) -> None:
    assert _found_by_hitting("index in place", memory, error=None)
    tally["seeded bugs found"] += 1


def test_an_error_finds_a_write_whose_failure_is_ignored(memory: Path, tally: Counter[str]) -> None:
    assert _found_by_hitting("write failures ignored", memory, error="ENOSPC")
    tally["seeded bugs found"] += 1


def _errors_of(point: Point, errors: tuple[str, ...]) -> tuple[str, ...]:
    given = (
        {"EIO"} | ({"EMFILE"} if point.call == "openat" else set()) | ({"ENOSPC"} if point.changes else set())
    )
    return tuple(error for error in errors if error in given)


def _found_by_hitting(bug: str, memory: Path, *, error: str | None) -> list[str]:
    name = "second import sharing blobs"
    root, points = prepared(name, memory, bug=bug)
    hits = [Hit(name, root, point, error, bug) for point in points if point.call == "pwrite64"]
    return [text for texts in spread(replay, hits) for text in texts]


def _assert_each_kind(hits: list[Hit], least: dict[str, int]) -> None:
    """Nothing is proven by calls that were not made."""
    counts = Counter(hit.point.call for hit in hits)
    assert {call: counts[call] for call, count in least.items() if counts[call] < count} == {}, counts
