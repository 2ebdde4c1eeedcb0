"""A Jetson's power modes: the files that nvpmodel keeps, and a program of that name that sets them."""

from __future__ import annotations

import sys
from pathlib import Path

_CONFIGURATION = """\
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
< PM_CONFIG DEFAULT=1 >
"""
_PROGRAM = """\
#!{python}
import pathlib, sys
root = pathlib.Path({root!r})
mode = int(sys.argv[sys.argv.index("-m") + 1])
with (root / "calls").open("a") as calls:
    calls.write(f"{{mode}}\\n")
if (root / "refuses").exists():
    print("NVPM ERROR: failed to set power mode!")
    sys.exit(255)
(root / "var/lib/nvpmodel/status").write_text(f"pmode:{{mode:04d}} fmode:fan_mode_quiet")
"""


class FakeNvpmodel:
    """Below a directory of the test."""

    def __init__(self, directory: Path, *, mode: int = 1) -> None:
        self.root = directory / "root"
        self.bin = directory / "bin"
        self._status = self.root / "var/lib/nvpmodel/status"
        for folder in (self._status.parent, self.root / "etc", self.bin):
            folder.mkdir(parents=True)
        (self.root / "etc/nvpmodel.conf").write_text(_CONFIGURATION)
        self._status.write_text(f"pmode:{mode:04d}")
        program = self.bin / "nvpmodel"
        program.write_text(_PROGRAM.format(python=sys.executable, root=str(self.root)))
        program.chmod(0o755)

    @property
    def mode(self) -> int:
        return int(self._status.read_text().split()[0].removeprefix("pmode:"))

    @property
    def calls(self) -> list[int]:
        """Modes that were asked for, in order."""
        path = self.root / "calls"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def refuse(self) -> None:
        (self.root / "refuses").touch()

    def allow(self) -> None:
        (self.root / "refuses").unlink()
