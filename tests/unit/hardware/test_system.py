from __future__ import annotations

import os
from pathlib import Path

from appliance.hardware import system
from appliance.hardware.root import Absent
from appliance.hardware.system import OwnProcess


def test_the_largest_programs_come_first() -> None:
    found = system.largest_programs(3)
    sizes = [program.resident_bytes for program in found]
    assert 1 <= len(found) <= 3
    assert sizes == sorted(sizes, reverse=True)


def test_this_process_is_told() -> None:
    figures = OwnProcess().figures()
    assert figures.resident_bytes > 1_000_000
    assert figures.threads >= 1 and figures.open_files >= 1
    assert figures.cpu_s > 0


def test_room_is_told_of_a_directory_that_exists(tmp_path: Path) -> None:
    found = system.space(tmp_path)
    assert not isinstance(found, Absent)
    wanted = os.statvfs(tmp_path)
    assert found.total_bytes <= wanted.f_blocks * wanted.f_frsize
    assert isinstance(system.space(tmp_path / "none"), Absent)
