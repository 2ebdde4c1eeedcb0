from __future__ import annotations

from appliance.health.cooling import CoolingHealth
from appliance.telemetry.heat_metrics import heat_samples
from appliance.thermal.values import Cause, Cooling, CoolingState, EngineLimits, ZoneMargin

PACED = Cooling(
    state=CoolingState.PACED,
    cause=Cause.HOT,
    limits=EngineLimits(duty=0.75),
    zones=(
        ZoneMargin(name="cpu", temperature_celsius=97.5, limit_celsius=99.0),
        ZoneMargin(name="gpu", temperature_celsius=None, limit_celsius=99.0, fault="cannot be read any more"),
    ),
    margin_celsius=1.5,
    is_throttled=False,
)


def values(cooling: Cooling) -> dict[tuple[str, str], float]:
    samples = heat_samples(CoolingHealth.of(cooling))
    return {(one.name, one.labels[0][1] if one.labels else ""): float(one.value) for one in samples}


def test_state_cause_margin_pace_and_zones_are_told() -> None:
    told = values(PACED)
    assert (told["cooling_state", "paced"], told["cooling_state", "normal"]) == (1, 0)
    assert (told["cooling_cause", "hot"], told["cooling_cause", "ok"]) == (1, 0)
    assert told["cooling_margin_celsius", ""] == 1.5
    assert (told["cooling_duty", ""], told["cooling_pause_ratio", ""]) == (0.75, 0.25)
    assert told["zone_temperature_celsius", "cpu"] == 97.5
    assert told["zone_fault", "gpu"] == 1
    assert told["throttled", ""] == 0


def test_what_is_not_known_has_no_series() -> None:
    told = values(PACED)
    assert ("zone_temperature_celsius", "gpu") not in told
    assert ("power_input_watts", "") not in told
    assert ("power_under_voltage", "") not in told
    assert heat_samples(None) == []


def test_a_hostile_tree_makes_no_labels_without_bound() -> None:
    zones = tuple(
        ZoneMargin(name="z" * 500 + str(number), temperature_celsius=1.0, limit_celsius=85.0)
        for number in range(500)
    )
    samples = heat_samples(CoolingHealth.of(Cooling(zones=zones)))
    assert len(samples) < 250
    assert max(len(text) for sample in samples for _, text in sample.labels) <= 40


def test_samples_of_one_name_stand_together() -> None:
    names = [sample.name for sample in heat_samples(CoolingHealth.of(PACED))]
    runs = [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]
    assert len(runs) == len(set(runs))
