from __future__ import annotations

from pathlib import Path

from appliance.hardware import meminfo

# Raspberry Pi 5, 8 GB, first lines and some of another form.
PI = """MemTotal:        8254000 kB
MemFree:          312004 kB
MemAvailable:    6100000 kB
SwapTotal:        204784 kB
SwapFree:         204784 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""


def test_sizes_are_read_in_bytes() -> None:
    reading = meminfo.parse(PI)
    assert reading.total_bytes == 8_452_096_000
    assert reading.available_bytes == 6_246_400_000
    assert reading.free_bytes == 319_492_096
    assert (reading.swap_total_bytes, reading.swap_free_bytes) == (209_698_816, 209_698_816)


def test_what_the_kernel_does_not_say_is_unknown() -> None:
    assert meminfo.parse("MemTotal: 100 kB\nMemFree: many kB\nMemAvailable: 7\n") == meminfo.MemoryReading(
        total_bytes=102_400,
        available_bytes=None,
        free_bytes=None,
        swap_total_bytes=None,
        swap_free_bytes=None,
    )


def test_a_tree_is_read_from_its_root(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(PI, encoding="ascii")
    assert meminfo.read(tmp_path) == meminfo.parse(PI)


def test_a_tree_without_the_file_is_all_unknown(tmp_path: Path) -> None:
    assert meminfo.read(tmp_path).total_bytes is None
