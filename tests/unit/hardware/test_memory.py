from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import cgroup, memory, pressure
from appliance.hardware.cgroup import MemoryLimit
from appliance.hardware.memory import Swap
from appliance.hardware.pressure import Pressure
from tests.unit.hardware.trees import tree


def test_the_level_with_the_least_room_bounds_the_memory(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b",
            "sys/fs/cgroup/a/memory.max": 1000,
            "sys/fs/cgroup/a/memory.current": 900,
            "sys/fs/cgroup/a/memory.stat": "inactive_file 50\nactive_file 30",
            "sys/fs/cgroup/a/b/memory.max": 800,
            "sys/fs/cgroup/a/b/memory.current": 100,
        },
    )
    found = cgroup.read_memory_limit(root)
    assert found == MemoryLimit(limit_bytes=1000, used_bytes=900, cache_bytes=80)
    assert found.room_bytes == 180


@pytest.mark.parametrize("text", [9223372036854771712, 9223372036854759424, "max", "x", -1])
def test_no_limit_of_either_version_is_none(text: object, tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/a\n0::/b",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": text,
            "sys/fs/cgroup/b/memory.max": text,
        },
    )
    assert cgroup.read_memory_limit(root) is None


def test_pressure_is_a_share_and_seconds() -> None:
    some = "some avg10=12.50 avg60=1.00 avg300=0.00 total=2500000"
    text = f"{some}\nfull avg10=2.00 avg60=0.00 avg300=0.00 total=1"
    assert pressure.parse(text) == Pressure(
        some_share=0.125, full_share=0.02, some_total_s=2.5, full_total_s=1e-06
    )
    assert pressure.parse("some avg10=1.00 total=1") is None


def test_a_kernel_without_pressure_says_why(tmp_path: Path) -> None:
    assert str(pressure.read(tree(tmp_path, {"x": 1}))) == "/proc/pressure/memory: not there"


def test_zram_is_told_from_a_partition() -> None:
    heading = "Filename Type Size Used Priority"
    text = f"{heading}\n/dev/zram0 partition 1000 10 5\n/dev/sda2 partition 2000 0 -2\n/odd line"
    assert memory.parse_swaps(text) == (
        Swap(name="/dev/sda2", is_compressed_memory=False, size_bytes=2048000, used_bytes=0),
        Swap(name="/dev/zram0", is_compressed_memory=True, size_bytes=1024000, used_bytes=10240),
    )


def test_old_jetsons_tell_what_their_gpu_has_mapped(tmp_path: Path) -> None:
    found = memory.read(tree(tmp_path, {"proc/meminfo": "MemAvailable: 100 kB\nNvMapMemUsed: 7 kB"}))
    assert (found.gpu_used_bytes, found.budget_bytes, found.total_bytes) == (7168, 102400, None)
