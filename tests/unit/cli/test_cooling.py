from __future__ import annotations

from typing import Any

import pytest

from appliance.cli.cooling import cooling_line

PACED = {"state": "paced", "cause": "hot", "reason": "cpu is 1.2 K below its limit", "duty": 0.62}


def test_a_board_that_is_well_says_so() -> None:
    told = {
        "cooling": {"state": "normal", "cause": "ok", "reason": "no sensors", "duty": 1.0, "admits": True}
    }
    assert cooling_line(told) == "cooling: normal: no sensors"


def test_pace_and_cause_are_told() -> None:
    assert cooling_line({"cooling": PACED}) == (
        "cooling: paced (hot): cpu is 1.2 K below its limit; models compute 62% of the time"
    )


def test_all_measures_are_told() -> None:
    line = cooling_line({"cooling": {**PACED, "holds_background": True, "admits": False}})
    assert line is not None
    assert line.endswith("; background requests wait; no new requests")


@pytest.mark.parametrize("told", [{}, {"cooling": None}, {"cooling": []}, {"cooling": {"state": 7}}])
def test_servers_of_another_make_tell_nothing(told: dict[str, Any]) -> None:
    assert cooling_line(told) is None


def test_control_characters_of_a_hostile_server_are_shown_and_not_sent() -> None:
    line = cooling_line({"cooling": {**PACED, "reason": "\x1b[2Jgone"}})
    assert line is not None
    assert "\x1b" not in line
