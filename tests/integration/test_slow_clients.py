"""A thousand clients that hold the door up, and one that only wants an answer."""

from __future__ import annotations

import http.client
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.haproxy import DoorProcess, HAProxy
from tests.fakes.slow_clients import SlowClients, idle, slow_body, slow_header, slow_large_body, unread
from tests.integration.api_door import PROMPT

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(180)]

ASKED = 300
Address = tuple[str, int]


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """A thousand sockets, ours and those of the processes that inherit the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(8192, before[1]) if before[1] != resource.RLIM_INFINITY else 8192
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def waits_s(address: Address, asked: int) -> list[float]:
    """Of a good client's requests, each on a connection of its own, sorted. Every one must be answered."""
    waits = []
    for _ in range(asked):
        began_s = time.perf_counter()
        connection = http.client.HTTPConnection(*address, timeout=10)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(PROMPT), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert b"one two three four" in answer.read()
        connection.close()
        waits.append(time.perf_counter() - began_s)
        time.sleep(0.01)
    return sorted(waits)


def test_behind_haproxy_a_thousand_slow_clients_hold_nobody_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {slow_header: 320, slow_body: 320, slow_large_body: 40, idle: 320, unread: 50}
    with DoorProcess(tmp_path) as door, HAProxy(door, tmp_path) as proxy:
        alone = waits_s(proxy.address, 100)
        before_bytes = door.rss_bytes
        with SlowClients(proxy.address, kinds) as attack:
            assert attack.open == sum(kinds.values())
            beside = waits_s(proxy.address, ASKED)
            grown_mb = (door.rss_bytes - before_bytes) / 1e6
            connected = attack.connected
    with capsys.disabled():
        print(
            f"\n{sum(kinds.values())} slow clients ({connected} connections): p50 {_ms(beside, 0.5)}, "
            f"p99 {_ms(beside, 0.99)}, most {_ms(beside, 1)}; alone p50 {_ms(alone, 0.5)}, p99 "
            f"{_ms(alone, 0.99)}; the daemon's door grew by {grown_mb:.0f} MB",
            end="",
        )
    assert beside[int(0.5 * ASKED)] < 0.1
    assert beside[int(0.99 * ASKED)] < 0.5  # the figure is printed; machines of tests are noisy


def test_without_haproxy_it_survives_them_and_serves_again(tmp_path: Path) -> None:
    kinds = {slow_header: 330, slow_body: 330, idle: 330, unread: 50}
    with DoorProcess(tmp_path) as door:
        before_bytes = door.rss_bytes
        with SlowClients(door.address, kinds):
            time.sleep(3)
            assert door.process.poll() is None
            assert door.rss_bytes - before_bytes < 150e6
        assert waits_s(door.address, 20)[-1] < 10


def _ms(sorted_s: list[float], share: float) -> str:
    return f"{sorted_s[min(len(sorted_s) - 1, int(share * len(sorted_s)))] * 1000:.0f} ms"
