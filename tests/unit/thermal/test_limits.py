from __future__ import annotations

from appliance.hardware.thermal_zones import Trip, Zone
from appliance.thermal.limits import counts, limit_celsius, may_sleep


def zone(name: str, *trips: tuple[str, float]) -> Zone:
    told = tuple(Trip(kind=kind, temperature_celsius=at, hysteresis_celsius=0.0) for kind, at in trips)
    return Zone(name=name, temperature_celsius=50.0, missing=None, trips=told)


def limit(*zones: Zone, pi: bool = False) -> float:
    return limit_celsius(zones[0], zones, is_raspberry_pi=pi)


def test_the_lowest_passive_or_hot_trip_is_the_limit() -> None:
    assert limit(zone("cpu", ("critical", 104.5), ("passive", 99.0), ("active", 70.0))) == 99.0
    assert limit(zone("cpu", ("critical", 104.5), ("hot", 99.0), ("passive", 95.0), ("active", 50.0))) == 95.0


def test_steps_of_the_fan_are_no_limit() -> None:
    fan = (("active", 50.0), ("active", 75.0))
    assert limit(zone("cpu", *fan, ("critical", 110.0))) == 85.0


def test_a_raspberry_pi_has_the_limit_of_its_firmware() -> None:
    assert limit(zone("cpu", ("active", 50.0), ("critical", 110.0)), pi=True) == 80.0
    assert limit(zone("cpu"), pi=True) == 80.0


def test_without_a_trip_to_throttle_it_is_below_the_critical_one() -> None:
    assert limit(zone("cpu", ("critical", 95.0))) == 80.0
    assert limit(zone("package", ("critical", 115.0))) == 85.0


def test_a_zone_without_trips_has_the_strictest_limit_of_its_neighbours() -> None:
    tj, cpu, soc = zone("tj"), zone("cpu", ("passive", 99.0)), zone("soc0", ("passive", 97.0))
    assert limit(tj, cpu, soc) == 97.0
    assert limit(zone("acpitz")) == 85.0


def test_trips_that_nobody_has_set_are_none() -> None:
    assert limit(zone("x86_pkg_temp", ("passive", 0.0), ("passive", -274.0), ("critical", 105.0))) == 85.0


def test_zones_of_other_parts_do_not_count() -> None:
    assert not counts(zone("PMIC-Die"))
    assert not counts(zone("iwlwifi_1"))
    assert not counts(zone("INT3400 Thermal"))
    assert counts(zone("cpu"))


def test_only_the_vision_engines_may_sleep() -> None:
    assert may_sleep(zone("cv1"))
    assert not may_sleep(zone("cpu"))
