"""A simulated board shown to whole, unmodified programs: its files stand in place of the kernel's own, in a
mount namespace that ends with the program.

What this machine has no file for cannot be shown (a Jetson's /etc/nv_tegra_release): for that is `--root`.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.daemon import Daemon
from tests.fakes.fake_board import FakeBoard

_SCRIPT: Final = """
set -e
tree=$1; shift
mount --bind "$tree/sys" /sys
for file in proc/meminfo proc/swaps proc/cpuinfo proc/pressure/memory; do
    if [ -e "$tree/$file" ] && [ -e "/$file" ]; then mount --bind "$tree/$file" "/$file"; fi
done
if [ -e "$tree/proc/self/cgroup" ]; then mount --bind "$tree/proc/self/cgroup" "/proc/$$/cgroup"; fi
exec "$@"
"""
"""The shell becomes the program, so the process that is `$$` here is the program itself."""


@functools.cache
def can_mount() -> bool:
    """Whether this user may have a mount namespace; a container may forbid it."""
    command = ["unshare", "-rm", "mount", "--bind", "/usr", "/sys"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def on_board(board: FakeBoard, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` on the board."""
    (board.top / "sys").mkdir(exist_ok=True)
    return ["unshare", "-rm", "sh", "-c", _SCRIPT, "sh", str(board.top), *command]


def set_available(board: FakeBoard, kib: int) -> None:
    """For running programs: in place, as another file would not be the one that is mounted. The line's length
    stays, so no reader sees half of it.
    """
    file = board.top / "proc/meminfo"
    text = file.read_bytes()
    start = text.index(b"MemAvailable:") + len(b"MemAvailable:")
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.pwrite(descriptor, f"{kib:>16}".encode(), start)
    finally:
        os.close(descriptor)


class MountedDaemon(Daemon):
    """The daemon as installed, on a simulated board. Owned by the test."""

    def __init__(
        self, directory: Path, board: FakeBoard, *, models: dict[str, Path], config: str = ""
    ) -> None:
        super().__init__(directory, models=models, config=config)
        self._board = board

    @property
    def command(self) -> list[str]:
        return on_board(self._board, super().command)
