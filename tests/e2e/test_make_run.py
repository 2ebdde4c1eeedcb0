"""`make run` and `make stop`, word for word, with a data directory of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 5.0


def make(target: str, data: Path, *more: str) -> tuple[str, float]:
    """What it printed, and how long it took."""
    began_s = time.monotonic()
    done = subprocess.run(
        ["make", target, f"DATA={data}", f"PYTHON={sys.executable}", *more],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, time.monotonic() - began_s


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    make("stop", tmp_path / "data")


def test_make_run_serves_says_how_to_talk_to_it_and_is_ready_at_once_the_second_time(data: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    told, _ = make("run", data, f"LISTEN={address}")
    assert f"http://{address}/v1" in told
    assert "curl -N" in told
    assert "from openai import OpenAI" in told
    assert "outpost run smollm2" in told
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        data=json.dumps(
            {"model": "smollm2", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}
        ).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["usage"]["completion_tokens"] > 0
    again, took_s = make("run", data, f"LISTEN={address}")
    assert "already runs" in again
    assert took_s < READY_WITHIN_S
    make("stop", data)
    _, took_s = make("run", data, f"LISTEN={address}")
    assert took_s < READY_WITHIN_S
