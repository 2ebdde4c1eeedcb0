from __future__ import annotations

import pytest

from appliance import systemd


def test_nobody_is_told_when_nobody_asked() -> None:
    assert not systemd.notify("READY=1", environment={})
    assert not systemd.notify("READY=1", environment={"NOTIFY_SOCKET": "relative"})
    assert not systemd.notify("READY=1", environment={"NOTIFY_SOCKET": "/nowhere/at/all"})
    assert not systemd.notify("READY=1", environment={"NOTIFY_SOCKET": "@outpost-no-such-socket"})


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_hears_twice_in_the_time_it_allows(
    environment: dict[str, str], interval_s: float | None
) -> None:
    assert systemd.watchdog_interval_s(environment=environment, pid=7) == interval_s
