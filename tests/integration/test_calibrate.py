"""A calibration as the daemon drives it: real children, a tiny model, a Jetson's power modes in files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from appliance.calibrating.values import Axis
from appliance.config import Config, load
from appliance.daemon.calibration import Calibrator, Subject
from appliance.daemon.calibration_parts import BoardCalibration
from appliance.daemon.power_modes import PowerModes
from appliance.daemon.standing import standing
from appliance.daemon.stored_models import all_specs
from appliance.errors import ClientGone, EngineFault, ModelNotFound, Overloaded, ShuttingDown
from appliance.hardware.root import Root
from appliance.store.content import Progress
from appliance.store.verbs import CalibrateWish
from tests.fakes.fake_nvpmodel import FakeNvpmodel

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(120)]

SHORT = CalibrateWish(limit_s=5.0)


@pytest.fixture(autouse=True)
def _no_child_is_left_behind() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvpmodel:
    made = FakeNvpmodel(tmp_path / "jetson")
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    return made


def config_of(directory: Path, model: Path, **engine: object) -> Config:
    overrides: dict[str, object] = {
        "data.dir": str(directory / "data"),
        "models": {"tiny": str(model)},
        "engine.n_seq_max": 8,
        **{f"engine.{key}": value for key, value in engine.items()},
    }
    (directory / "empty.toml").touch()
    return load(directory / "empty.toml", overrides=overrides)


class Parts:
    """A calibration of one model, below a directory."""

    def __init__(self, config: Config, sysroot: Path = Path("/")) -> None:
        self.config = config
        self.changes = 0
        self.made = BoardCalibration(
            config,
            stored=tuple,
            standing=lambda: standing(own_kernels=True, sysroot=sysroot),
            on_change=self._changed,
            sysroot=sysroot,
        )

    def _changed(self) -> None:
        self.changes += 1

    def told(self) -> str | None:
        (spec,) = all_specs(self.config, (), calibrated=self.made.applied)
        return spec.calibrated


def ignored(_progress: Progress) -> None:
    pass


def test_a_model_is_measured_stored_told_and_forgotten(tiny_model: Path, tmp_path: Path) -> None:
    parts = Parts(config_of(tmp_path, tiny_model))
    assert parts.told() is None
    said: list[str] = []
    done = parts.made.calibrator.calibrate("TINY", lambda news: said.append(news.status), wish=SHORT)
    assert done.record is not None
    assert done.stale is None
    found = done.record.findings
    assert [axis.axis for axis in found.axes] == [axis for axis in Axis if axis is not Axis.POWER]
    assert any(row.per_s.get("decode", 0) > 0 for row in found.axes[0].rows)
    assert found.spent_s < 60
    assert any(one.startswith("measuring threads") for one in said)
    assert parts.changes == 1
    assert str(parts.told()).startswith("calibrated 20")

    again = Parts(config_of(tmp_path, tiny_model))
    assert again.made.calibrator.calibration("tiny").record == done.record
    assert again.made.calibrator.forget("tiny")
    assert not again.made.calibrator.forget("tiny")
    assert again.told() is None
    assert json.loads((tmp_path / "data/plans/calibration.json").read_bytes())["records"] == []


def test_a_dry_run_measures_nothing(tiny_model: Path, tmp_path: Path) -> None:
    parts = Parts(config_of(tmp_path, tiny_model, n_threads=1))
    done = parts.made.calibrator.calibrate("tiny", ignored, wish=CalibrateWish(dry_run=True))
    assert done.record is None
    assert done.plan[0].text == "set by the configuration or the model: it stays"
    assert not (tmp_path / "data/plans").exists()


def test_a_model_that_is_not_there_is_not_found(tiny_model: Path, tmp_path: Path) -> None:
    parts = Parts(config_of(tmp_path, tiny_model))
    with pytest.raises(ModelNotFound, match="available: tiny"):
        parts.made.calibrator.calibrate("none", ignored, wish=SHORT)


def test_other_files_under_the_name_are_another_model(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "m.gguf"
    copy.write_bytes(tiny_model.read_bytes())
    parts = Parts(config_of(tmp_path, copy))
    parts.made.calibrator.calibrate("tiny", ignored, wish=SHORT)
    assert parts.told() is not None
    os.utime(copy, (1, 1))
    assert parts.told() is None


def test_a_child_that_never_answers_is_given_up_when_the_time_is_over(
    tiny_model: Path, tmp_path: Path
) -> None:
    parts = Parts(config_of(tmp_path, tiny_model))
    (spec,) = all_specs(parts.config, ())
    calibrator = Calibrator(
        parts.config,
        subject=lambda _name: Subject(spec=spec, settled=frozenset()),
        calibrations=parts.made.calibrations,
        standing=lambda: standing(own_kernels=True),
        power_modes=PowerModes(Root(tmp_path), tmp_path / "note.json"),
        command=(sys.executable, "-c", "import time; time.sleep(60)"),
    )
    began_s = time.monotonic()
    with pytest.raises(EngineFault, match="nothing can be measured: the time was over"):
        calibrator.calibrate("tiny", ignored, wish=SHORT)
    assert 5 <= time.monotonic() - began_s < 20


# ── nothing is left changed ─────────────────────────────────────────────────────────────────────────


def test_a_cancel_in_the_middle_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    parts = Parts(config_of(tmp_path, tiny_model))

    def report(news: Progress) -> None:
        if news.status.startswith("measuring") and psutil.Process().children():
            raise ClientGone

    with pytest.raises(ClientGone):
        parts.made.calibrator.calibrate("tiny", report, wish=SHORT)
    assert parts.changes == 0
    assert not (tmp_path / "data/plans/calibration.json").exists()


def test_power_modes_are_measured_and_the_one_before_is_set_again(
    tiny_model: Path, tmp_path: Path, jetson: FakeNvpmodel
) -> None:
    parts = Parts(config_of(tmp_path, tiny_model, n_threads=1), sysroot=jetson.root)
    wish = CalibrateWish(limit_s=30.0, power_modes=True)
    done = parts.made.calibrator.calibrate("tiny", ignored, wish=wish)
    assert done.record is not None
    power = done.record.findings.axes[-1]
    assert (power.axis, power.default, power.kept) == (Axis.POWER, "25W", "25W")
    assert {row.label for row in power.rows} == {"15W", "25W", "MAXN_SUPER"}
    assert done.record.energy is not None
    assert done.record.energy.startswith("no rail of this board tells")
    assert set(jetson.calls) >= {0, 2}
    assert jetson.mode == 1
    assert not (tmp_path / "data/plans/power-mode.json").exists()


def until_switched(jetson: FakeNvpmodel) -> None:
    deadline_s = time.monotonic() + 60
    while jetson.mode == 1 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert jetson.mode != 1


@pytest.fixture
def at_work(tiny_model: Path, tmp_path: Path, jetson: FakeNvpmodel) -> Iterator[tuple[Parts, list[Any]]]:
    """A calibration that is in another power mode; what came of it stands in the list when it has ended."""
    parts = Parts(config_of(tmp_path, tiny_model, n_threads=1), sysroot=jetson.root)
    ended: list[Any] = []

    def work() -> None:
        try:
            wish = CalibrateWish(limit_s=20.0, power_modes=True)
            ended.append(parts.made.calibrator.calibrate("tiny", ignored, wish=wish))
        except (ClientGone, ShuttingDown) as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until_switched(jetson)
    yield parts, ended
    thread.join(60)
    assert not thread.is_alive()
    assert jetson.mode == 1


def test_the_mode_is_set_again_when_the_daemon_ends(
    at_work: tuple[Parts, list[Any]], jetson: FakeNvpmodel, tmp_path: Path
) -> None:
    parts, ended = at_work
    with pytest.raises(Overloaded):
        parts.made.calibrator.calibrate("tiny", ignored, wish=SHORT)
    assert (tmp_path / "data/plans/power-mode.json").read_bytes() == b'{"mode":1}'
    parts.made.close()
    assert jetson.mode == 1
    assert not (tmp_path / "data/plans/power-mode.json").exists()
    assert isinstance(ended[0], ShuttingDown)


def test_the_mode_is_set_again_when_the_child_is_killed(
    at_work: tuple[Parts, list[Any]], jetson: FakeNvpmodel
) -> None:
    _, ended = at_work
    for child in psutil.Process().children():
        if "runner.bench" in " ".join(child.cmdline()):
            child.kill()
    deadline_s = time.monotonic() + 60
    while not ended and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert jetson.mode == 1
    assert ended[0].record is not None, "what was measured before counts"


def test_what_a_killed_daemon_has_left_is_put_back_at_the_next_start(
    tiny_model: Path, tmp_path: Path, jetson: FakeNvpmodel
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from appliance.hardware.root import Root;"
        "from appliance.daemon.power_modes import PowerModes;"
        "assert PowerModes(Root(Path(sys.argv[1])), Path(sys.argv[2])).set(2) is None;"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    note = tmp_path / "data/plans/power-mode.json"
    killed = subprocess.run([sys.executable, "-c", program, str(jetson.root), str(note)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert jetson.mode == 2
    Parts(config_of(tmp_path, tiny_model), sysroot=jetson.root).made.start()
    assert jetson.mode == 1
    assert not note.exists()


def test_a_program_that_refuses_is_told_and_the_note_waits_for_the_next_try(
    tmp_path: Path, jetson: FakeNvpmodel
) -> None:
    note = tmp_path / "note.json"
    modes = PowerModes(Root(jetson.root), note)
    assert modes.set(2) is None
    jetson.refuse()
    assert modes.restore() == (
        "nvpmodel did not set mode 1 (exit code 255): NVPM ERROR: failed to set power mode!"
    )
    assert note.exists()
    jetson.allow()
    assert modes.restore() is None
    assert (jetson.mode, note.exists()) == (1, False)


def test_the_mode_that_was_first_is_the_one_to_go_back_to(tmp_path: Path, jetson: FakeNvpmodel) -> None:
    modes = PowerModes(Root(jetson.root), tmp_path / "note.json")
    assert [modes.set(number) for number in (0, 2, 0)] == [None, None, None]
    assert modes.restore() is None
    assert jetson.mode == 1


def test_a_board_without_modes_and_a_note_of_garbage_change_nothing(
    tmp_path: Path, jetson: FakeNvpmodel
) -> None:
    note = tmp_path / "note.json"
    for garbage in (b"", b"\xff", b"[]", b'{"mode": -3}', b'{"mode": "2"}', b"x" * 5000):
        note.write_bytes(garbage)
        assert PowerModes(Root(jetson.root), note).restore() is None
    (jetson.root / "var/lib/nvpmodel/status").unlink()
    told = PowerModes(Root(jetson.root), note).look()
    assert isinstance(told, str)
    assert told.startswith("this board has no power modes that are known")
    assert PowerModes(Root(jetson.root), note).set(2) is not None
    assert jetson.calls == []
