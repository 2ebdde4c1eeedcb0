"""The whole unmodified program, and psutil, on boards whose files stand in place of the kernel's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import tiny_gguf
from tests.fakes.fake_board import FakeBoard, load
from tests.fakes.mounted_board import MountedDaemon, can_mount, on_board, set_available
from tests.integration.command_line import OUTPOST, environment
from tests.integration.daemon_asking import chat, health

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not can_mount(), reason="this user may not have a mount namespace"),
]

PSUTIL = """
import json, psutil
print(json.dumps({
    "total": psutil.virtual_memory().total,
    "available": psutil.virtual_memory().available,
    "temperatures": sorted(psutil.sensors_temperatures()),
    "fans": {name: [fan.current for fan in fans] for name, fans in psutil.sensors_fans().items()},
}))
"""
MIB = 1024


def output(board: FakeBoard, home: Path, *command: str) -> Any:
    done = subprocess.run(
        on_board(board, command),
        env=environment(home),
        cwd=home,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def hardware(board: FakeBoard, home: Path) -> Any:
    return output(board, home, *OUTPOST, "hardware", "--json")


def test_an_orin_nano_is_seen_where_the_kernel_would_show_it(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"), seed=11)
    report = hardware(board, tmp_path)
    assert (report["board"]["key"], report["board"]["soc"]) == ("orin-nano-8g", "tegra234")
    assert report["memory"]["total_bytes"] == 7802372 * 1024
    assert report["memory"]["available_bytes"] == 6_100_000 * 1024
    assert len(report["memory"]["swaps"]) == 6
    assert report["cpu"]["possible"] == [0, 1, 2, 3, 4, 5]
    assert report["power"]["input_watts"] == 5.588
    zones = {zone["name"]: zone for zone in report["thermal"]["zones"]}
    assert zones["cpu"]["temperature_celsius"] == 49.5
    assert zones["cv0"]["missing"].endswith("/temp: empty"), "a real file cannot fail as sysfs does"
    assert report["is_throttled"] is False


def test_a_pi_with_a_weak_supply_is_seen(tmp_path: Path) -> None:
    report = hardware(FakeBoard(tmp_path / "board", load("pi-4"), seed=11), tmp_path)
    assert (report["board"]["key"], report["is_throttled"]) == ("pi-4", True)
    assert (report["power"]["under_voltage"], report["power"]["frequency_capped"]) == (True, True)
    assert report["power"]["soft_limit"] is False


def test_pressure_and_cgroups_are_those_of_the_board(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("pc-n100"), seed=11)
    some = "some avg10=30.00 avg60=9.00 avg300=1.00 total=7000000"
    full = "full avg10=20.00 avg60=5.00 avg300=0.50 total=3000000"
    board.write("proc/pressure/memory", f"{some}\n{full}")
    memory = hardware(board, tmp_path)["memory"]
    assert memory["limit"] == {"limit_bytes": 8 << 30, "used_bytes": 2 << 30, "cache_bytes": 1 << 30}
    assert memory["budget_bytes"] == 7 << 30
    if Path("/proc/pressure/memory").exists():  # a file that this kernel lacks cannot be covered
        assert (memory["pressure"]["some_share"], memory["pressure"]["full_total_s"]) == (0.3, 3.0)


def test_psutil_sees_the_same_board(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("pi-5"), seed=11)
    assert output(board, tmp_path, sys.executable, "-c", PSUTIL) == {
        "total": 8245000 * 1024,
        "available": 7600000 * 1024,
        "temperatures": ["cpu_thermal", "rp1_adc"],
        "fans": {"pwmfan": [2947]},
    }


def test_a_daemon_gives_a_model_the_slots_that_the_boards_memory_allows(tmp_path: Path) -> None:
    """The same daemon, the same model, before and after another program took the memory. 624 MB of this
    board are kept free for others.
    """
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"))
    config = "[engine]\nn_ctx_seq = 2048\nn_seq_max = 16\n"
    shape = tiny_gguf.Shape(n_layer=2, n_embd=256, n_head=8, n_head_kv=8, n_ff=256, n_ctx_train=2048)
    models = {"tiny": tiny_gguf.write_generator(tmp_path / "tiny.gguf", shape=shape)}
    slots = {}
    for available_kib in (6000 * MIB, 760 * MIB):
        set_available(board, available_kib)
        with MountedDaemon(tmp_path / str(available_kib), board, models=models, config=config) as daemon:
            answer = chat(daemon, "tiny", max_tokens=2)
            assert answer.status_code == 200, (answer.text, daemon.log()[-2000:])
            (runner,) = health(daemon)["runners"]
            slots[available_kib] = runner["n_seq_max"]
            metrics = daemon.get("/metrics")
            assert 'outpost_board_rail_watts{rail="VDD_IN"} 5.588\n' in metrics
            assert f"outpost_board_memory_available_bytes {available_kib * 1024}\n" in metrics
            assert 'outpost_board_throttled{reason="gpu-throttle-alert"} 0\n' in metrics
            set_available(board, 12_345)
            assert f"outpost_board_memory_available_bytes {12_345 * 1024}\n" in daemon.get("/metrics")
    assert slots[6000 * MIB] == 16
    assert slots[760 * MIB] == 4


def test_the_cpu_of_a_board_with_a_gpu_is_told_everywhere(tmp_path: Path) -> None:
    """The llama.cpp of this machine is built without CUDA: on an Orin an alarm, unless it is wished."""
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"))
    models = {"tiny": tiny_gguf.write_generator(tmp_path / "tiny.gguf")}
    with MountedDaemon(tmp_path / "prefers", board, models=models) as daemon:
        answer = chat(daemon, "tiny", max_tokens=2)
        assert answer.headers["X-Outpost-Placement"].startswith("cpu; ctx=")
        assert answer.headers["X-Outpost-Placement"].endswith("; alarm")
        report = health(daemon)
        assert (report["ready"], len(report["degraded"])) == (True, 1)
        assert "runs on the CPU, not on the GPU of Jetson Orin Nano 8 GB" in report["degraded"][0]
        assert 'outpost_placement_alarm{model="tiny"} 1\n' in daemon.get("/metrics")
        assert '"event": "placement_alarm"' in daemon.log()
    with MountedDaemon(
        tmp_path / "wishes", board, models=models, config='[engine]\ndevice = "cpu"\n'
    ) as daemon:
        assert not chat(daemon, "tiny", max_tokens=2).headers["X-Outpost-Placement"].endswith("alarm")
        assert health(daemon)["degraded"] == []


def test_a_model_that_requires_a_gpu_is_not_served_without_one(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"))
    models = {"tiny": tiny_gguf.write_generator(tmp_path / "tiny.gguf")}
    config = '[engine]\ndevice = "require_gpu"\n'
    with MountedDaemon(tmp_path / "daemon", board, models=models, config=config) as daemon:
        answer = chat(daemon, "tiny", max_tokens=2)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gpu_unavailable")
        (runner,) = health(daemon)["runners"]
        assert (runner["state"], runner["crashes"], runner["runner_pid"]) == ("failed", 0, None)
