from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import storage
from appliance.hardware.root import Root
from tests.unit.hardware.trees import tree


@pytest.mark.parametrize(
    ("text", "life"),
    [("0x01 0x02", 0.2), ("0x0b 0x01", 1.1), ("0x00 0x00", None), ("0x0c 0x01", None), ("1 2", None)],
)
def test_the_wear_of_an_emmc_is_that_of_its_worse_cells(text: str, life: float | None) -> None:
    assert storage.parse_life(text) == life


def test_disks_that_tell_no_wear_say_who_would(tmp_path: Path) -> None:
    root = tree(
        tmp_path, {"sys/block/nvme0n1/size": 8, "sys/block/mmcblk0/size": 8, "sys/block/loop0/size": 8}
    )
    found = {disk.name: disk.reasons["life_used"] for disk in storage.read(root).disks}
    assert found["mmcblk0"] == "/sys/block/mmcblk0/device/life_time: not there (an SD card tells no wear)"
    assert found["nvme0n1"].startswith("an NVMe drive tells its wear only")
    assert len(found) == 2


def test_the_room_of_the_data_directory_is_told(tmp_path: Path) -> None:
    found = storage.read(Root(tmp_path), tmp_path).data
    assert found is not None and 0 < found.free_bytes <= found.total_bytes
    lacking = storage.read(Root(tmp_path), tmp_path / "none")
    assert lacking.data is None and lacking.reasons["data"].endswith("none: No such file or directory")
