from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import board, boards
from appliance.hardware.board import L4tRelease
from tests.fakes.fake_board import NAMES
from tests.unit.hardware.trees import tree


@pytest.mark.parametrize(
    ("compatible", "key"),
    [
        (["nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234"], "orin-nano-8g"),
        (["nvidia,p3509-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"], "orin-nx-16g"),
        (["nvidia,p9999-0000+p3767-0004", "nvidia,tegra234"], "orin-nano-4g"),
        (["nvidia,p9999-0000", "nvidia,tegra234"], "tegra234"),
        (["nvidia,jetson-nano", "nvidia,tegra210"], "nano"),
        (["someone,carrier", "rockchip,rk3588"], "rk3588"),
        (["raspberrypi,5-model-b", "brcm,bcm2712"], "pi-5"),
    ],
)
def test_a_board_is_known_by_its_module_else_by_its_chip(compatible: list[str], key: str) -> None:
    found = boards.identify(compatible)
    assert found is not None and found.key == key


def test_a_board_that_no_table_has_is_unknown_with_its_names(tmp_path: Path) -> None:
    root = tree(tmp_path, {"sys/firmware/devicetree/base/compatible": "acme,board\0acme,chip"})
    found = board.read(root)
    assert (found.key, found.family, found.soc) == (None, None, "chip")
    assert (
        found.reasons["key"]
        == "/sys/firmware/devicetree/base/compatible: acme,board, acme,chip is in no table"
    )


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic", ("36.4.3", "6.1")),
        ("# R39 (release), REVISION: 2.0, GCID: 4", ("39.2.0", "7.2")),
        ("# R32 (release), REVISION: 7.6, GCID: 4", ("32.7.6", "4.6")),
        ("# R99 (release), REVISION: 1.0, GCID: 4", ("99.1.0", None)),
    ],
)
def test_the_release_is_read_from_its_first_line(text: str, release: tuple[str, str | None]) -> None:
    found = board.parse_release(text)
    assert found is not None and (str(found), found.jetpack) == release


@pytest.mark.parametrize("text", ["", "R36", "# R36 (release), REVISION: x"])
def test_another_form_of_the_release_is_none(text: str) -> None:
    assert board.parse_release(text) is None


def test_a_release_of_two_numbers_is_whole() -> None:
    assert board.parse_release("# R35 (release), REVISION: 6.5, G") == L4tRelease(
        major=35, minor=6, patch="5", jetpack="5.1.4"
    )


def test_a_machine_of_a_cloud_is_virtual_by_its_firmware(tmp_path: Path) -> None:
    found = board.read(tree(tmp_path, {"sys/class/dmi/id/sys_vendor": "QEMU"}))
    assert (found.key, found.name) == ("virtual", "a virtual machine")


def test_the_documentation_shows_every_board_that_is_known_by_name() -> None:
    page = (Path(__file__).parents[3] / "docs/hardware.md").read_text(encoding="utf-8")
    shown = {
        (row.split("|")[1].strip(" `"), row.split("|")[2].strip())
        for row in page.splitlines()
        if row.startswith("| `")
    }
    assert {(one.key, one.name) for one in boards.MODULES.values()} <= shown
    assert [name for name in NAMES if f"`{name}`" not in page] == []
