"""`outpost serve` as a program: how it starts, what it refuses, how it ends. No model is loaded."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.command_line import OUTPOST, environment
from tests.integration.supervisor.conftest import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

LISTENING = re.compile(r"outpost: listening on (http://127\.0\.0\.1:([0-9]+))")


def outpost(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OUTPOST, *arguments],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A daemon that listens, and its address."""
    running = subprocess.Popen(
        [*OUTPOST, "serve", *arguments], env=environment(home), cwd=home, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    with running.stdout:
        try:
            found = LISTENING.fullmatch(running.stdout.readline().rstrip())
            assert found, "it ended before it listened"
            yield running, found[1].removeprefix("http://")
        finally:
            running.kill()
            running.wait(timeout=10)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file with a model's name; it is only opened when a request asks for it."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    return file


def test_a_daemon_tells_its_address_is_found_keeps_its_directory_and_leaves_no_trace(
    tmp_path: Path, gguf: Path
) -> None:
    data = tmp_path / "data"
    arguments = ("--data", "data", "--model", f"tiny={gguf.name}")
    with serving(tmp_path, "--listen", "127.0.0.1:0", *arguments) as (running, address):
        record = json.loads((data / "daemon.json").read_text())
        assert (record["address"], record["pid"]) == (address, running.pid)
        assert outpost(tmp_path, "health", "--data", "data").stdout.startswith(f"http://{address}: ready\n")
        assert outpost(tmp_path, "ps", "--data", "data").stdout.splitlines()[1].split()[:2] == [
            "tiny",
            "stopped",
        ]

        second = outpost(tmp_path, "serve", "--listen", "127.0.0.1:0", *arguments)
        assert second.returncode == os.EX_TEMPFAIL
        assert f"{data} is used by another daemon" in second.stderr
        assert "listening" not in second.stdout

        taken = outpost(tmp_path, "serve", "--listen", address, "--data", "other")
        assert taken.returncode == os.EX_TEMPFAIL
        assert f"{address} is in use" in taken.stderr

        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=20) == 0
        assert running.stdout is not None
        assert running.stdout.read() == ""  # the log is on stderr
    kept = {"audit", "daemon.lock", "device.key", "keys.db", "store", "usage.db"}
    assert {file.name for file in data.iterdir()} == kept
    gone = outpost(tmp_path, "ps", "--data", "data")
    assert gone.returncode == os.EX_UNAVAILABLE
    assert "start one with: outpost serve --data data" in gone.stderr


def test_a_record_left_by_a_crash_is_not_announced_and_is_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "daemon.json").write_text(json.dumps({"address": "127.0.0.1:1", "pid": 1}))
    with serving(tmp_path, "--listen", "127.0.0.1:0", "--data", "data") as (running, address):
        assert not address.endswith(":1")
        assert json.loads((data / "daemon.json").read_text())["address"] == address
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 0


@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full", "| true", "2>&1 | true"]
)
def test_a_daemon_whose_output_nobody_reads_serves_and_ends_well(tmp_path: Path, redirection: str) -> None:
    program = (
        f"{{ {' '.join(OUTPOST)} serve --listen 127.0.0.1:0 --data data; echo $? >code; }} {redirection}"
    )
    with subprocess.Popen(["/bin/sh", "-c", program], env=environment(tmp_path), cwd=tmp_path) as shell:
        record = tmp_path / "data" / "daemon.json"
        eventually(record.exists, within_s=15.0)
        address, pid = (json.loads(record.read_text())[key] for key in ("address", "pid"))
        assert outpost(tmp_path, "health", "--data", "data").stdout.startswith(f"http://{address}: ")
        os.kill(pid, signal.SIGTERM)
        shell.wait(timeout=20)
    eventually((tmp_path / "code").exists)
    eventually(lambda: (tmp_path / "code").read_text() == "0\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["--listen", "here"], os.EX_CONFIG, "server.listen"),
        (["--ctx", "999999999"], os.EX_CONFIG, "engine.n_ctx_seq"),
        (["--model", "bad name=tiny.gguf"], os.EX_CONFIG, "models"),
        (["--config", "bad.toml"], os.EX_CONFIG, "bad.toml"),
        (["--config", "unknown.toml"], os.EX_CONFIG, "no such key"),
        (["--data", "/proc/nowhere"], os.EX_CONFIG, "data.dir"),
        (["--config", "missing.toml"], os.EX_NOINPUT, "no such file"),
        (["--model", "x=missing.gguf"], os.EX_NOINPUT, "no such file"),
        (["--preload", "x"], os.EX_CONFIG, "--preload = 'x': expected a model there is: none"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    tmp_path: Path, gguf: Path, arguments: list[str], exit_code: int, told: str
) -> None:
    (tmp_path / "bad.toml").write_text("[server")
    (tmp_path / "unknown.toml").write_text("[server]\nport = 1\n")
    done = outpost(tmp_path, "serve", *(() if "--data" in arguments else ("--data", "data")), *arguments)
    assert done.returncode == exit_code
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("outpost: ")
