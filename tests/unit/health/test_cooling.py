from __future__ import annotations

from dataclasses import replace

from appliance.health.cooling import CoolingHealth
from appliance.health.rules import evaluate
from appliance.thermal.values import Cause, Cooling, CoolingState, EngineLimits, ZoneMargin
from tests.fakes.fake_health import READY, report_with

HOT = Cooling(
    state=CoolingState.CLOSED,
    cause=Cause.HOT,
    reason="cpu is 0.2 K below its limit",
    limits=EngineLimits(token_budget=32, duty=0.1, hold_background=True, admit=False, retry_after_s=40.0),
    zones=(ZoneMargin(name="cpu", temperature_celsius=98.8, limit_celsius=99.0),),
    margin_celsius=0.2049,
)


def test_it_is_flat_and_rounded() -> None:
    told = CoolingHealth.of(HOT, looks=3, cpu_s=0.00123456)
    assert (told.state, told.cause, told.duty, told.token_budget) == ("closed", "hot", 0.1, 32)
    assert (told.admits, told.holds_background, told.prefers_sibling) == (False, True, False)
    assert (told.margin_celsius, told.look_cpu_s, told.looks) == (0.2, 0.0012, 3)
    assert told.zones[0].limit_celsius == 99.0
    assert told.input_watts is None


def test_a_board_that_takes_no_request_is_not_ready() -> None:
    report = replace(report_with(READY), cooling=CoolingHealth.of(HOT))
    verdict = evaluate(report)
    assert verdict.is_live
    assert verdict.reasons == ("it cools down and takes no new request: cpu is 0.2 K below its limit",)


def test_one_that_is_only_slow_is_ready() -> None:
    paced = replace(HOT, state=CoolingState.PACED, limits=EngineLimits(duty=0.5))
    assert evaluate(replace(report_with(READY), cooling=CoolingHealth.of(paced))).is_ready
