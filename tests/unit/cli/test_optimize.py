"""What `outpost optimize` prints, from what the daemon tells."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import pytest

from appliance.cli import listing, optimize, ps, show
from appliance.cli.exits import Exit, Failure
from appliance.cli.parser import parse
from appliance.store.answers import listed_object, record_object, shown_object
from tests.fakes.fake_store_verbs import RECORD, TINY
from tests.fakes.fake_store_verbs import shown as shown_model

SENTENCE = "Q8_0 variant of Q4_1 (2.1x prefill, 1.5x decode, KL 0.0062)"
OUTCOME: dict[str, Any] = {"name": "tiny:latest", "dry_run": False, "optimization": record_object(RECORD)}


def parsed(*argv: str) -> argparse.Namespace:
    into = argparse.Namespace()
    parse(argv, into)
    return into


def test_the_table_has_both_in_turn_and_the_verdict() -> None:
    header, original, candidate, legend, verdict, end = optimize.told(OUTCOME).splitlines()
    assert header.split() == [
        *("TYPE", "SIZE", "PREFILL", "DECODE", "1", "DECODE", "8", "KL", "PPL", "VERDICT")
    ]
    assert original.split() == ["Q4_1", "98", "MB", "100", "10", "40", "-", "24.09", "original"]
    assert candidate.split() == [
        *("Q8_0", "145", "MB", "210", "(2.10x)", "15", "(1.50x)", "64", "(1.60x)"),
        *("0.0062", "24.14", "kept"),
    ]
    assert legend == "speed in tokens per second, of all sequences together; ratios to the original"
    assert verdict == "Q8_0: 1.80x the original's speed, KL divergence 0.0062"
    assert end == f"tiny:latest is served as {SENTENCE}; back with: outpost optimize tiny:latest --undo"


def test_a_noisy_board_is_told() -> None:
    record = record_object(RECORD)
    noisy = {**record["tried"][0], "others_share": 0.43}
    lines = optimize.told({**OUTCOME, "optimization": {**record, "tried": [noisy]}}).splitlines()
    assert lines[4] == (
        "others computed up to 43% of the time meanwhile: measure again when the board is quiet"
    )


def test_what_was_not_measured_has_no_figures() -> None:
    record = record_object(RECORD)
    bare = {**record["tried"][0], "original": None, "candidate": None, "reason": "too_large"}
    told = optimize.told({**OUTCOME, "optimization": {**record, "kept": None, "tried": [bare]}})
    assert told.splitlines()[1].split() == ["Q8_0", "145", "MB", "-", "0.0062", "24.14", "too", "large"]
    assert told.endswith("tiny:latest stays as it is")


def test_where_nothing_was_tried_the_reason_is_all_there_is() -> None:
    record = {**record_object(RECORD), "kept": None, "tried": [], "sentence": "the original is served: why"}
    assert optimize.told({**OUTCOME, "optimization": record}) == (
        "tiny:latest stays as it is: the original is served: why"
    )


def test_a_dry_run_says_what_would_be() -> None:
    told = optimize.told({**OUTCOME, "dry_run": True})
    assert told.endswith("nothing is kept: a dry run; Q8_0 would be served")


def test_an_answer_of_another_version_is_no_crash() -> None:
    assert "stays as it is" in optimize.told({"name": "tiny"})


def test_undo_takes_no_wishes() -> None:
    with pytest.raises(Failure) as caught:
        optimize.main(parsed("optimize", "tiny", "--undo", "--kl", "0.1"))
    assert caught.value.exit_code == Exit.USAGE


def test_the_command_line_is_read_and_bounded() -> None:
    asked = parsed("optimize", "tiny", "--kl", "0.02", "--candidates", "q8_0, Q4_0", "--dry-run")
    assert (asked.kl, asked.candidates, asked.dry_run, asked.undo) == (0.02, ("q8_0", "Q4_0"), True, False)
    for wrong in (("--kl", "101"), ("--kl", "nan"), ("--kl", "much"), ("--candidates", " , ")):
        with pytest.raises(Failure):
            parsed("optimize", "tiny", *wrong)


def test_list_show_and_ps_tell_what_is_served_or_what_there_is_to_gain() -> None:
    served = replace(TINY, optimized=SENTENCE)
    hinted = replace(TINY, hint="Q4_1 has no fast layout on this chip, Q8_0 has")
    assert listing.table([listed_object(served)], now_s=0).endswith(f"\ntiny:latest: {SENTENCE}")
    assert listing.table([listed_object(hinted)], now_s=0).endswith(
        "tiny:latest: Q4_1 has no fast layout on this chip, Q8_0 has; "
        "measure it with: outpost optimize tiny:latest"
    )
    lines = show.overview(shown_object(shown_model(served)), verbose=False).splitlines()
    assert any(line.split("served as")[-1].strip() == SENTENCE for line in lines if "served as" in line)
    lines = show.overview(shown_object(shown_model(hinted)), verbose=False).splitlines()
    assert any(line.endswith("Q8_0 has; outpost optimize tiny:latest") for line in lines)
    (row,) = ps.rows([{"id": "m"}], {"runners": [{"model": "m", "optimized": SENTENCE, "hint": None}]})
    assert (row.optimized, row.hint) == (SENTENCE, None)
    assert row.as_json()["optimized"] == SENTENCE
