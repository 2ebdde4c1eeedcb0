"""What a daemon tells of a runner at work, and how it ends one: a heavy fake model, an endless stream."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.daemon import Daemon
from tests.e2e.asking import wait_until
from tests.fakes import tiny_gguf

CONFIG = """
[server]
drain_s = 0.5
[engine]
n_ctx_seq = 8192
n_seq_max = 4
kv_cells = 32768
"""
SHAPE = tiny_gguf.Shape(n_layer=6, n_embd=512, n_head=8, n_head_kv=8, n_ff=2048, n_ctx_train=8192)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    model = tiny_gguf.write_generator(tmp_path / "heavy.gguf", shape=SHAPE)
    with Daemon(tmp_path, models={"heavy": model}, config=CONFIG) as running:
        yield running


@contextmanager
def endless(daemon: Daemon) -> Iterator[Iterator[str]]:
    """The events of a stream that would go on for minutes; the first is here."""
    body = {
        "model": "heavy",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "ignore_eos": True,
        "temperature": 0,
    }
    url = f"{daemon.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60.0, trust_env=False) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        next(lines)
        yield lines


def ps(daemon: Daemon) -> dict[str, object]:
    outpost = Path(sys.executable).parent / "outpost"
    told = subprocess.check_output([outpost, "ps", "--json", "--data", str(daemon.data)], text=True)
    (model,) = json.loads(told)["models"]
    assert isinstance(model, dict)
    return model


def test_ps_shows_slots_uptime_and_speed_of_a_runner_at_work(daemon: Daemon) -> None:
    assert (ps(daemon)["state"], ps(daemon)["tokens_per_s"]) == ("stopped", None)
    with endless(daemon) as events:
        for _ in range(20):
            next(events)
        wait_until(lambda: (ps(daemon)["tokens_per_s"] or 0) != 0, within_s=10, what="a speed")
        shown = ps(daemon)
    assert shown["running"] == 1
    assert shown["slots"] == 4
    assert shown["context_tokens"] == 8192
    assert isinstance(shown["uptime_s"], float)
    assert isinstance(shown["rss_bytes"], int)
    wait_until(lambda: ps(daemon)["running"] == 0, within_s=5, what="the client is gone, and so is its work")


def test_metrics_tell_of_the_engine(daemon: Daemon) -> None:
    assert "outpost_engine_" not in daemon.get("/metrics")
    with endless(daemon) as events:
        for _ in range(20):
            next(events)
        wait_until(
            lambda: 'outpost_engine_running{model="heavy"} 1\n' in daemon.get("/metrics"),
            within_s=10,
            what="the running request",
        )
        page = daemon.get("/metrics")
    figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(figures['outpost_engine_steps_total{model="heavy"}']) > 0
    assert float(figures['outpost_engine_kv_cells{model="heavy"}']) == 32768
    assert float(figures['outpost_engine_kv_cells_used{model="heavy"}']) > 0
    assert float(figures['outpost_engine_threads{model="heavy"}']) >= 1
    assert 0 < float(figures['outpost_engine_step_p50_seconds{model="heavy"}']) < 10
    assert float(figures['outpost_runner_resident_memory_bytes{model="heavy"}']) > 50 * 2**20
    assert figures['outpost_runner_state{model="heavy",state="ready"}'] == "1"


def test_a_stop_waits_for_streams_as_long_as_configured_and_tells_them_why_they_end(daemon: Daemon) -> None:
    with endless(daemon) as events:
        began_s = time.monotonic()
        daemon.process().terminate()
        *_, last = events
        ended_s = time.monotonic()
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert 0.4 < ended_s - began_s < 3.0
    daemon.stop()
