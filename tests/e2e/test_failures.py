"""Processes that die: what the clients see, and that the next request works."""

from __future__ import annotations

import os
import time

import psutil
import pytest
from openai import APIError, OpenAI

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import chat, text_of, wait_until
from tests.e2e.conftest import openai_client


def _stream_and_kill(client: OpenAI, daemon: Daemon, killed_s: list[float]) -> None:
    """Kill the runner after a few chunks, note when, and read on."""
    with client.chat.completions.create(
        model=STARTER_NAME,
        messages=[{"role": "user", "content": "Tell me a long story."}],
        max_tokens=1500,
        stream=True,
        extra_body={"ignore_eos": True},
    ) as chunks:
        for number, _ in enumerate(chunks):
            if number == 5:
                daemon.runners()[0].kill()
                killed_s.append(time.monotonic())


def test_a_runner_killed_in_mid_stream_is_a_typed_error_and_the_next_request_works(
    own_daemon: Daemon,
) -> None:
    with openai_client(own_daemon) as client:
        chat(client, "Hello", max_tokens=1)
        killed_s: list[float] = []
        with pytest.raises(APIError) as caught:
            _stream_and_kill(client, own_daemon, killed_s)
        assert time.monotonic() - killed_s[0] < 1.0
        assert caught.value.code == "runner_died"
        assert "river" in text_of(chat(client, "Name three rivers.")).lower()


def test_a_killed_daemon_leaves_no_runner_behind(own_daemon: Daemon) -> None:
    with openai_client(own_daemon) as client:
        chat(client, "Hello", max_tokens=1)
    runners = own_daemon.process().children(recursive=True)
    assert len(runners) >= 3  # the runner, and the two processes of its template
    own_daemon.kill()
    gone, alive = psutil.wait_procs(runners, timeout=5)
    assert not alive and len(gone) == len(runners)


def test_a_stopped_daemon_leaves_neither_runner_nor_record(own_daemon: Daemon) -> None:
    with openai_client(own_daemon) as client:
        chat(client, "Hello", max_tokens=1)
    runners = own_daemon.runners()
    own_daemon.stop()
    wait_until(
        lambda: not any(runner.is_running() for runner in runners), within_s=3, what="all runners are gone"
    )
    assert not (own_daemon.data / "daemon.json").exists()


def test_the_runner_has_no_environment_to_leak(own_daemon: Daemon) -> None:
    with openai_client(own_daemon) as client:
        chat(client, "Hello", max_tokens=1)
    (runner,) = own_daemon.runners()
    if os.geteuid() == 0:
        assert not set(runner.environ()) & set(os.environ) - {"LANG", "LC_ALL", "PATH"}
    else:
        with pytest.raises(psutil.AccessDenied):
            runner.environ()


def test_daemon_without_work_is_small_and_quiet(own_daemon: Daemon) -> None:
    with openai_client(own_daemon) as client:
        chat(client, "Hello", max_tokens=1)
    process = own_daemon.process()
    time.sleep(1.0)
    before_s = sum(process.cpu_times()[:2])
    time.sleep(10.0)
    assert sum(process.cpu_times()[:2]) - before_s <= 0.05  # 0.5 %, in clock ticks of 10 ms
    # Three dialects, their bodies and the accounts take 9 MB of it (64 before they came). Reading a header of
    # 49,000 tokens leaves 6 MB behind; rich takes 3 MB, which structlog imports where the
    # development environment has it.
    assert process.memory_info().rss <= 80 * 2**20
