from __future__ import annotations

from appliance.supervisor.throughput import Throughput


def after(*readings: tuple[float, int]) -> float:
    """Tokens per second after heartbeats of (seconds, total tokens)."""
    throughput = Throughput()
    for now_s, tokens in readings:
        throughput.observe(tokens, now_s)
    return throughput.per_s


def test_before_the_second_heartbeat_nothing_is_known() -> None:
    assert Throughput().per_s == 0.0
    assert after((5.0, 100)) == 0.0


def test_it_is_the_gain_over_the_time_between_heartbeats() -> None:
    assert after((0.0, 0), (1.0, 20), (2.0, 60)) == 30.0


def test_what_is_older_than_ten_seconds_does_not_count() -> None:
    assert after(*((float(second), min(second, 10) * 50) for second in range(21))) == 0.0
    assert after(*((float(second), min(second, 10) * 50) for second in range(16))) == 25.0


def test_a_long_silence_is_averaged_over_and_not_forgotten() -> None:
    assert after((0.0, 0), (100.0, 1000)) == 10.0


def test_a_total_that_shrinks_is_no_negative_speed() -> None:
    assert after((0.0, 100), (1.0, 0)) == 0.0


def test_two_heartbeats_at_once_divide_by_nothing() -> None:
    assert after((1.0, 0), (1.0, 100)) == 0.0


def test_a_flood_of_heartbeats_fills_no_memory() -> None:
    throughput = Throughput()
    for number in range(10_000):
        throughput.observe(number, number / 10_000)
    assert len(throughput._readings) == 256
