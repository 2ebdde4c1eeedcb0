"""Asking the kernel for memory back, on a simulated board."""

from __future__ import annotations

from pathlib import Path

from appliance.hardware.reclaim import Reclaimed, reclaim


def board(top: Path) -> Path:
    folder = top / "proc/sys/vm"
    folder.mkdir(parents=True)
    for name in ("drop_caches", "compact_memory"):
        (folder / name).write_text("0")
    return folder


def test_both_wishes_are_written(tmp_path: Path) -> None:
    folder = board(tmp_path)
    assert reclaim(tmp_path) == Reclaimed(
        done=("/proc/sys/vm/drop_caches", "/proc/sys/vm/compact_memory"), refused=()
    )
    assert (folder / "drop_caches").read_text() == "3"
    assert (folder / "compact_memory").read_text() == "1"


def test_what_is_refused_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    folder = board(tmp_path)
    (folder / "compact_memory").unlink()
    assert reclaim(tmp_path) == Reclaimed(
        done=("/proc/sys/vm/drop_caches",),
        refused=("/proc/sys/vm/compact_memory: No such file or directory",),
    )
    assert not (folder / "compact_memory").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = board(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (folder / "drop_caches").unlink()
    (folder / "drop_caches").symlink_to(elsewhere)
    assert reclaim(tmp_path).done == ("/proc/sys/vm/compact_memory",)
    assert elsewhere.read_text() == "mine"
