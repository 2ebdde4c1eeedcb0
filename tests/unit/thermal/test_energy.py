from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.hardware.power import PowerReading
from appliance.thermal.energy import EnergyMeter, Work
from tests.fakes.thermal_board import NO_POWER


def drawing(watts: float) -> PowerReading:
    return replace(NO_POWER, input_watts=watts)


def used(joules: float, *, most: float | None = None) -> PowerReading:
    return replace(NO_POWER, energy_joules=joules, energy_range_joules=most)


def work(computing_s: float, tokens: int) -> Work:
    return Work(computing_s=computing_s, tokens=tokens)


def test_watts_times_seconds_go_to_the_model_that_works() -> None:
    meter = EnergyMeter()
    for second in range(5):
        meter.update(float(second), drawing(10.0 + second), {"m": work(second, 20 * second)})
    (model,) = meter.models
    assert (model.model, model.joules, model.tokens, model.seconds) == ("m", 48.0, 80, 4.0)
    assert model.joules_per_token == pytest.approx(0.6)


def test_two_models_share_by_their_computing() -> None:
    meter = EnergyMeter()
    meter.update(0.0, drawing(12.0), {"a": work(0, 0), "b": work(0, 0)})
    meter.update(4.0, drawing(12.0), {"a": work(3.0, 30), "b": work(1.0, 4)})
    a, b = meter.models
    assert (a.joules, b.joules) == (36.0, 12.0)
    assert (a.joules_per_token, b.joules_per_token) == (1.2, 3.0)


def test_rest_is_nobodys() -> None:
    meter = EnergyMeter()
    meter.update(0.0, drawing(5.0), {"m": work(7.0, 100)})
    meter.update(10.0, drawing(5.0), {"m": work(7.0, 100)})
    assert meter.models == ()


def test_a_counter_that_wraps_is_followed() -> None:
    meter = EnergyMeter()
    meter.update(0.0, used(95.0, most=100.0), {"m": work(0, 0)})
    meter.update(4.0, used(15.0, most=100.0), {"m": work(4, 10)})
    assert meter.models[0].joules == 20.0


def test_a_counter_that_jumps_back_counts_nothing() -> None:
    meter = EnergyMeter()
    meter.update(0.0, used(95.0), {"m": work(0, 0)})
    meter.update(4.0, used(15.0), {"m": work(4, 10)})
    assert meter.models == ()


def test_without_a_sensor_there_is_no_figure() -> None:
    meter = EnergyMeter()
    for second in range(5):
        meter.update(float(second), NO_POWER, {"m": work(second, 20 * second)})
    assert meter.models == ()


def test_a_runner_that_was_started_anew_counts_from_zero() -> None:
    meter = EnergyMeter()
    meter.update(0.0, drawing(10.0), {"m": work(50.0, 900)})
    meter.update(3.0, drawing(10.0), {"m": work(2.0, 60)})
    assert (meter.models[0].joules, meter.models[0].tokens) == (30.0, 60)


def test_a_gap_in_the_looks_counts_nothing() -> None:
    meter = EnergyMeter()
    meter.update(0.0, drawing(10.0), {"m": work(0, 0)})
    meter.update(60.0, drawing(10.0), {"m": work(50, 500)})
    assert meter.models == ()


def test_too_short_a_time_gives_no_figure_per_token() -> None:
    meter = EnergyMeter()
    meter.update(0.0, drawing(10.0), {"m": work(0, 0)})
    meter.update(1.0, drawing(10.0), {"m": work(1, 10)})
    assert meter.models[0].joules_per_token is None
