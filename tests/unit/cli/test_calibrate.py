"""What `outpost calibrate` prints, from what the daemon tells."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from appliance.calibrating.outline import outline
from appliance.cli import calibrate, ps, show
from appliance.cli.exits import Exit, Failure
from appliance.cli.parser import parse
from appliance.store.answers import calibration_object, shown_object
from appliance.store.verbs import Calibration
from tests.fakes.calibrating import wish
from tests.fakes.fake_store_verbs import CALIBRATED
from tests.fakes.fake_store_verbs import shown as shown_model

OUTCOME: dict[str, Any] = calibration_object(
    Calibration(name="tiny:latest", record=CALIBRATED, sentence=CALIBRATED.sentence)
)


def parsed(*argv: str) -> argparse.Namespace:
    into = argparse.Namespace()
    parse(argv, into)
    return into


def test_the_tables_have_speeds_noise_joules_and_what_is_kept() -> None:
    lines = calibrate.told(OUTCOME).splitlines()
    assert lines[0].split() == [
        *("THREADS", "PREFILL", "DECODE", "DECODE", "x8", "SPREAD", "J/TOK", "TOK/J", "VERDICT")
    ]
    assert lines[1].split()[:8] == ["threads", "2", "110", "12.5", "40", "1%", "0.4", "2.5"]
    assert lines[1].endswith("kept: 1.60x the default's speed in 5 rounds")
    assert lines[2].split() == ["threads", "3", "60", "8", "25", "5%", "-", "-", "the", "default"]
    assert "load: read (its weights are copied)" in lines
    assert (
        "measured 2026-11-29T12:00:00+00:00 in 41.5 s; others computed 2% of the time of all cores" in lines
    )
    assert lines[-1] == "tiny:latest: calibrated 2026-11-29: threads 2"


def test_what_is_stale_says_so() -> None:
    told = calibrate.told({**OUTCOME, "stale": "it was measured with another build (old)"})
    assert "not used: it was measured with another build (old)" in told


def test_nothing_stored_says_what_to_do() -> None:
    told = calibrate.told(calibration_object(Calibration(name="tiny")))
    assert told == "tiny was not measured on this board; measure it with: outpost calibrate tiny"


def test_a_dry_run_tells_what_would_be_measured() -> None:
    told = calibrate.told(calibration_object(Calibration(name="tiny", plan=outline(wish()))))
    assert "threads 1, threads 2, threads 3, threads 4" in told
    assert told.endswith("tiny: nothing was measured, a dry run")


@pytest.mark.parametrize(
    "hostile", [{}, {"axes": [{}]}, {"axes": [{"rows": [{}, {"per_s": {"decode": "x"}}]}]}]
)
def test_an_answer_of_another_make_is_no_crash(hostile: dict[str, Any]) -> None:
    assert calibrate.told({"name": "tiny", "calibration": {"findings": hostile}})


@pytest.mark.parametrize(
    "argv",
    [
        ("--show", "--forget"),
        ("--show", "--dry-run"),
        ("--forget", "--limit", "30"),
        ("--show", "--power-modes"),
    ],
)
def test_wishes_that_say_nothing_to_each_other_are_a_usage_error(argv: tuple[str, ...]) -> None:
    with pytest.raises(Failure) as caught:
        calibrate.main(parsed("calibrate", "tiny", *argv))
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize("limit", ["4", "3601", "nan", "soon", "-5"])
def test_a_limit_out_of_bounds_is_a_usage_error(limit: str) -> None:
    with pytest.raises((SystemExit, Failure)):
        parsed("calibrate", "tiny", "--limit", limit)


def test_ps_and_show_tell_it() -> None:
    models = [{"id": "tiny", "state": "ready"}]
    report = {"runners": [{"model": "tiny", "calibrated": "calibrated 2026-11-29: threads 2"}]}
    (row,) = ps.rows(models, report)
    assert row.calibrated == "calibrated 2026-11-29: threads 2"
    assert shown_object(shown_model())["calibrated"] is None
    told = show.overview({"name": "tiny", "calibrated": "calibrated 2026-11-29: threads 2"}, verbose=False)
    assert "on this board" in told
    assert "calibrated 2026-11-29: threads 2" in told
