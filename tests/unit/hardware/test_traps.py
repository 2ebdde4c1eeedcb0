"""The traps of real boards, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import (
    board,
    boards,
    cgroup,
    gpu,
    memory,
    nvpmodel,
    power,
    pressure,
    rails,
    storage,
    thermal_zones,
)
from appliance.hardware.board import L4tRelease
from appliance.hardware.cgroup import MemoryLimit
from appliance.hardware.memory import Swap
from appliance.hardware.nvpmodel import PowerMode
from appliance.hardware.pressure import Pressure
from appliance.hardware.rails import Rail
from appliance.hardware.root import Absent, Root
from appliance.hardware.thermal_zones import CoolingDevice, Trip, Zone


def tree(top: Path, files: dict[str, object]) -> Root:
    for path, value in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(f"{value}\n")
    return Root(top)


def rail(name: str, watts: float | None) -> Rail:
    return Rail(name=name, power_watts=watts, volts=None, amperes=None, is_over_current=None)


# ── identity


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


# ── temperatures


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("CPU-therm", "cpu"),
        ("cv0-thermal", "cv0"),
        ("tj-thermal", "tj"),
        ("x86_pkg_temp", "x86_pkg_temp"),
        ("acpitz", "acpitz"),
        ("cpu_thermal", "cpu"),
        ("thermal-fan-est", "thermal-fan-est"),
        ("SOC2-therm", "soc2"),
    ],
)
def test_names_of_zones_are_the_same_on_every_release(kind: str, name: str) -> None:
    assert thermal_zones.normalised(kind) == name


def test_trips_are_sorted_and_those_at_zero_or_below_are_off(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone4"
    files: dict[str, object] = {f"{zone}/type": "x86_pkg_temp", f"{zone}/temp": 47000}
    for number, (kind, value, hysteresis) in enumerate(
        [
            ("critical", 104500, 0),
            ("passive", 0, 0),
            ("passive", -274000, 0),
            ("active", 70000, 8000),
            ("hot", 99000, "x"),
        ]
    ):
        files |= {
            f"{zone}/trip_point_{number}_type": kind,
            f"{zone}/trip_point_{number}_temp": value,
            f"{zone}/trip_point_{number}_hyst": hysteresis,
        }
    assert thermal_zones.read(tree(tmp_path, files)).zones == (
        Zone(
            name="x86_pkg_temp",
            temperature_celsius=47.0,
            missing=None,
            trips=(
                Trip(kind="active", temperature_celsius=70.0, hysteresis_celsius=8.0),
                Trip(kind="hot", temperature_celsius=99.0, hysteresis_celsius=0.0),
                Trip(kind="critical", temperature_celsius=104.5, hysteresis_celsius=0.0),
            ),
        ),
    )


@pytest.mark.parametrize("value", [-256000, 999000, 2_147_483_647])
def test_a_temperature_no_board_has_is_a_fault_and_not_a_temperature(value: int, tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    reading = thermal_zones.read(tree(tmp_path, {f"{zone}/type": "cpu", f"{zone}/temp": value}))
    assert reading.zones[0].temperature_celsius is None
    assert reading.zones[0].missing == f"/{zone}/temp: {value / 1000:g} °C is no temperature of a board"


def test_zones_of_one_name_are_all_told(tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for number, value in ((0, 30000), (1, 28000)):
        files |= {
            f"sys/class/thermal/thermal_zone{number}/type": "acpitz",
            f"sys/class/thermal/thermal_zone{number}/temp": value,
        }
    reading = thermal_zones.read(tree(tmp_path, files))
    assert [(zone.name, zone.temperature_celsius) for zone in reading.zones] == [
        ("acpitz", 28.0),
        ("acpitz", 30.0),
    ]


def test_only_throttle_alerts_tell_of_throttling() -> None:
    devices = [
        CoolingDevice(kind=kind, state=state, max_state=1)
        for kind, state in (
            ("hot-surface-alert", 1),
            ("cpu-throttle-alert", 0),
            ("soc0-throttle-alert", 1),
            ("cv0-throttle-alert", None),
        )
    ]
    assert [device.is_throttle_alert for device in devices] == [False, True, True, True]
    assert [device.is_throttling for device in devices] == [False, False, True, False]


# ── power


@pytest.mark.parametrize(
    ("found", "watts"),
    [
        ([rail("VDD_IN", 5.0), rail("VDD_CPU_GPU_CV", 2.0), rail("VDD_SOC", 1.0)], 5.0),
        (
            [
                rail("VDD_GPU_SOC", 3.0),
                rail("VDD_CPU_CV", 1.0),
                rail("VIN_SYS_5V0", 4.0),
                rail("VDDQ_VDD2_1V8AO", 1.0),
            ],
            8.0,
        ),
        ([rail("VIN", 35.0), rail("VDD_GPU", 10.0), rail("VIN_SYS_5V0", 4.0)], 35.0),
        ([rail("POM_5V_IN", 2.0), rail("POM_5V_GPU", 1.0)], 2.0),
    ],
)
def test_the_input_is_one_rail_or_on_agx_a_sum_of_three(found: list[Rail], watts: float) -> None:
    assert rails.input_watts(tuple(found)) == watts


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], "no power sensor on this board"),
        ([rail("VDD_CPU_GPU_CV", 2.0)], "none of the rails feeds the whole board: VDD_CPU_GPU_CV"),
        ([rail("VDD_IN", None)], "no power is told for rail VDD_IN"),
        (
            [rail("VDD_GPU_SOC", None), rail("VDD_CPU_CV", 1.0), rail("VIN_SYS_5V0", 4.0)],
            "no power is told for rail VDD_GPU_SOC",
        ),
    ],
)
def test_an_input_that_nobody_measures_is_never_estimated(found: list[Rail], why: str) -> None:
    assert rails.input_watts(tuple(found)) == Absent(path="", reason=why)


def test_a_sum_of_shunts_is_no_rail_and_an_ina238_counts_in_microwatts(tmp_path: Path) -> None:
    first, second = "sys/class/hwmon/hwmon3", "sys/class/hwmon/hwmon0"
    root = tree(
        tmp_path,
        {
            f"{first}/name": "ina3221",
            f"{first}/in7_label": "sum of shunt voltages",
            f"{first}/in7_input": 9,
            f"{first}/in1_label": "VDD_GPU",
            f"{first}/in1_input": 12000,
            f"{first}/curr1_input": 500,
            f"{second}/name": "ina238",
            f"{second}/in1_input": 20000,
            f"{second}/curr1_input": 1000,
            f"{second}/power1_input": 19_900_000,
        },
    )
    assert [(rail.name, rail.power_watts) for rail in rails.read(root)] == [("VDD_GPU", 6.0), ("VIN", 19.9)]


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("0", (False, False, False, False)),
        ("50005", (True, False, True, False)),
        ("0x50000", (False, False, False, False)),
        ("e000e", (False, True, True, True)),
        ("F", (True, True, True, True)),
    ],
)
def test_the_firmwares_word_is_hexadecimal(text: str, flags: tuple[bool, ...]) -> None:
    assert tuple((power.parse_throttled(text) or {}).values()) == flags


@pytest.mark.parametrize("text", ["", "0x", "throttled=0x0", "123456789", "g", "-1"])
def test_another_word_is_none(text: str) -> None:
    assert power.parse_throttled(text) is None


def test_two_packages_are_added_and_no_wrap_is_told(tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for number, joules in ((0, 1_000_000), (1, 500_000)):
        zone = f"sys/class/powercap/intel-rapl:{number}"
        files |= {
            f"{zone}/name": f"package-{number}",
            f"{zone}/energy_uj": joules,
            f"{zone}/max_energy_range_uj": 10**9,
        }
    files |= {"sys/class/powercap/intel-rapl:2/name": "psys", "sys/class/powercap/intel-rapl:2/energy_uj": 7}
    reading = power.read(tree(tmp_path, files))
    assert (reading.energy_joules, reading.energy_range_joules) == (1.5, None)
    assert reading.reasons["energy_range_joules"].endswith("wrap one by one")


# ── memory


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


# ── GPU, power mode, storage


def test_a_gpu_that_sleeps_is_not_woken(tmp_path: Path) -> None:
    device = "sys/devices/17000000.ga10b"
    found = gpu.read(tree(tmp_path, {f"{device}/load": 625, f"{device}/power/runtime_status": "suspended"}))
    assert found.load is None
    assert found.reasons["load"] == f"/{device}: switched off; to read its load would wake it"


@pytest.mark.parametrize(("value", "load"), [(0, 0.0), (625, 0.625), (1000, 1.0), (1001, None), (-1, None)])
def test_the_load_of_a_jetson_is_per_mille(value: int, load: float | None, tmp_path: Path) -> None:
    assert gpu.read(tree(tmp_path, {"sys/devices/gpu.0/load": value})).load == load


def test_a_clock_in_another_unit_is_refused(tmp_path: Path) -> None:
    clock = "sys/class/devfreq/17000000.gpu"
    found = gpu.read(tree(tmp_path, {f"{clock}/cur_freq": 306, f"{clock}/max_freq": 1_020_000_000}))
    assert (found.current_hertz, found.limit_hertz) == (None, 1_020_000_000)
    assert (
        found.reasons["current_hertz"] == f"/{clock}/cur_freq: 306 Hz is not the clock of a GPU or of memory"
    )


def test_a_mode_that_the_configuration_lacks_is_unknown(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=15W >\n<POWER_MODEL ID=0 NAME=MAXN>\n"
            "< PM_CONFIG DEFAULT=2 >",
            "var/lib/nvpmodel/status": "pmode:0007 fmode:quiet",
        },
    )
    found = nvpmodel.read(root)
    assert found.modes == (PowerMode(number=0, name="MAXN"), PowerMode(number=2, name="15W"))
    assert (found.mode, found.default_number) == (None, 2)
    assert found.reasons["mode"] == "/etc/nvpmodel.conf: has no mode 7"


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
