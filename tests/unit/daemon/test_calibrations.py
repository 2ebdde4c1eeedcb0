from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from appliance.calibrating.values import CachePrices, Choice
from appliance.config import Config, EngineSettings, ModelSettings
from appliance.config.board_settings import CalibrationSettings
from appliance.daemon.calibration_parts import BoardCalibration
from appliance.daemon.calibrations import Calibrations, board_name, identity_of, priced
from appliance.daemon.placements import placement
from appliance.daemon.stored_models import Applied, all_specs
from appliance.errors import StoreFault
from appliance.hardware.root import Root
from appliance.planner.prices import CPU_PRICES
from tests.fakes.calibrating import HERE, findings
from tests.fakes.fake_store_verbs import CALIBRATED
from tests.fakes.model_files import UnsyncedFiles

CHOICE = Choice(
    n_threads=2, n_ubatch=256, flash_attention="off", repack=False, own_kernels=False, use_mmap=False
)


# ── what is served otherwise ────────────────────────────────────────────────────────────────────────


def test_a_choice_fills_what_is_left_open() -> None:
    made = placement(Config(), {}, chosen=CHOICE)
    assert (made.n_threads, made.n_ubatch, made.flash_attention) == (2, 256, "off")
    assert (made.repack, made.use_mmap) == (False, False)


def test_without_a_choice_it_is_the_defaults() -> None:
    made = placement(Config(), {})
    assert (made.n_threads, made.n_ubatch, made.flash_attention) == (0, 512, "auto")
    assert (made.repack, made.use_mmap) == (True, True)


def test_what_the_operator_has_set_wins() -> None:
    config = Config(engine=EngineSettings(n_threads=4, n_ubatch=512, flash_attention="on"))
    made = placement(config, {}, chosen=CHOICE)
    assert (made.n_threads, made.n_ubatch, made.flash_attention) == (4, 512, "on")


def test_what_the_model_says_wins() -> None:
    made = placement(Config(), {"n_threads": 3, "n_ubatch": 64}, chosen=CHOICE)
    assert (made.n_threads, made.n_ubatch) == (3, 64)


def test_kernels_that_the_operator_does_not_want_stay_off(tmp_path: Path) -> None:
    config = Config(
        models={"m": ModelSettings(path=tmp_path / "m.gguf")}, engine=EngineSettings(own_kernels=False)
    )
    chosen = Applied(choice=Choice(own_kernels=True), told="calibrated")
    (spec,) = all_specs(config, (), calibrated=lambda _: chosen)
    assert (spec.settings.own_kernels, spec.calibrated) == (False, "calibrated")


def test_what_is_told_of_it_does_not_start_a_runner_anew(tmp_path: Path) -> None:
    config = Config(models={"m": ModelSettings(path=tmp_path / "m.gguf")})
    (spec,) = all_specs(config, ())
    assert spec.loads_like(replace(spec, calibrated="calibrated 2026-11-29"))
    chosen = Applied(choice=Choice(flash_attention="off"))
    (other,) = all_specs(config, (), calibrated=lambda _: chosen)
    assert not spec.loads_like(other)


# ── the file ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    return str(path)


def opened(tmp_path: Path, *, board: str = "pi5", build: str = HERE.build) -> Calibrations:
    here = replace(HERE, build=build)
    return Calibrations(
        tmp_path / "plans/calibration.json", standing=lambda: here, board_name=board, files=UnsyncedFiles()
    )


def kept(tmp_path: Path, model: str, **changes: object) -> None:
    identity = identity_of([model])
    record = msgspec.structs.replace(CALIBRATED, model=identity, board="pi5", chip=HERE.chip.mark, **changes)
    opened(tmp_path).keep(record)


def test_what_is_kept_is_found_after_the_next_start(tmp_path: Path, model: str) -> None:
    kept(tmp_path, model)
    found = opened(tmp_path).find([model])
    assert found is not None
    assert (found.stale, found.sentence) == (None, "calibrated 2026-11-29: threads 2")


def test_on_another_board_or_build_it_is_told_and_not_used(tmp_path: Path, model: str) -> None:
    kept(tmp_path, model, findings=findings(ubatch=((64, 2.0), (512, 1.0))))
    elsewhere = opened(tmp_path, board="pi4").find([model])
    assert elsewhere is not None
    assert elsewhere.sentence == (
        "the calibration of 2026-11-29 is not used: it was measured on another board (pi5)"
    )
    rebuilt = opened(tmp_path, build="llama.cpp new")
    assert rebuilt.prices([model], CPU_PRICES) == CPU_PRICES
    assert opened(tmp_path).prices([model], CPU_PRICES) != CPU_PRICES


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff" * 100, b"x" * (1024 * 1024 + 1)])
def test_garbage_is_no_calibration_and_is_replaced(tmp_path: Path, model: str, garbage: bytes) -> None:
    path = tmp_path / "plans/calibration.json"
    path.parent.mkdir()
    path.write_bytes(garbage)
    assert opened(tmp_path).find([model]) is None
    kept(tmp_path, model)
    assert opened(tmp_path).find([model]) is not None


def test_a_file_that_cannot_be_written_is_an_error_and_changes_nothing(tmp_path: Path, model: str) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans/calibration.json").mkdir()
    book = opened(tmp_path)
    with pytest.raises(StoreFault):
        book.keep(msgspec.structs.replace(CALIBRATED, model=str(identity_of([model]))))
    assert book.find([model]) is None


def test_stored_files_are_known_by_their_digest_and_others_by_size_and_time(tmp_path: Path) -> None:
    digest = "a" * 64
    assert identity_of([f"/nowhere/{digest}"]) == digest
    assert identity_of(["/nowhere/m.gguf"]) is None
    assert identity_of([]) is None
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    before = identity_of([str(path)])
    os.utime(path, (1, 1))
    assert before != identity_of([str(path)]) == "m.gguf:4:1000000000"


def test_prices_that_were_measured_replace_those_of_the_table() -> None:
    measured = findings(
        cache=CachePrices(prefill=1.5, decode=1.1, depth_tokens=3584), ubatch=((64, 1.3), (512, 1.0))
    )
    table = priced(measured, CPU_PRICES)
    assert (table.cache_prefill, table.cache_decode, table.ubatch_prefill) == (
        1.5,
        1.1,
        ((64, 1.3), (512, 1.0)),
    )
    assert table.q8_cache() > CPU_PRICES.q8_cache()
    assert priced(findings(), CPU_PRICES) == CPU_PRICES


def test_an_unknown_board_has_a_name_all_the_same(tmp_path: Path) -> None:
    assert board_name(Root(tmp_path))


# ── the parts ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_to_be_applied_is_only_told(tmp_path: Path, model: str) -> None:
    config = Config(calibration=CalibrationSettings(apply=False))
    config = config.model_copy(update={"data": config.data.model_copy(update={"dir": tmp_path})})
    board = board_name(Root(tmp_path))
    identity = identity_of([model])
    record = msgspec.structs.replace(CALIBRATED, model=identity, board=board, chip=HERE.chip.mark)
    Calibrations(
        tmp_path / "plans/calibration.json",
        standing=lambda: HERE,
        board_name=board,
        files=UnsyncedFiles(),
    ).keep(record)
    parts = BoardCalibration(config, stored=tuple, standing=lambda: HERE, sysroot=tmp_path)
    applied = parts.applied([model])
    assert applied.choice == Choice()
    assert str(applied.told).endswith("not applied: [calibration] apply is false")
