"""The door under load for some seconds, as `make bench-door` measures it for minutes."""

from __future__ import annotations

import asyncio

import pytest

from tests.bench.door import overload, served, streams

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(120)]


def test_of_fifty_streams_no_event_is_lost_doubled_or_out_of_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with served(steps_per_s=20.0, running=256, waiting=256) as port:
        found = asyncio.run(streams(port, 50, 4.0))
    with capsys.disabled():
        print(f"\nadded gap of 50 streams: p99 {found['added_gap_p99_ms']} ms", end="")
    assert found["events"] == 50 * 80
    assert found["lost_doubled_or_out_of_order"] == 0, found["examples"]


def test_ten_times_too_many_are_answered_or_refused_and_what_can_be_done_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with served(steps_per_s=20.0, running=16, waiting=16) as port:
        found = asyncio.run(overload(port, 5.0))
    with capsys.disabled():
        print(
            f"\n10x overload: goodput {found['goodput_of_capacity']:.0%} of {found['capacity_per_s']}/s, "
            f"refused in p99 {found['refused_p99_ms']} ms, health in at most {found['health_most_ms']} ms",
            end="",
        )
    assert set(found["answers"]) == {"200", "503 overloaded"}
    assert found["health_not_200"] == 0
    assert found["goodput_of_capacity"] > 0.5
