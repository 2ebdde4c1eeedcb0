"""How the programs end: exit codes, one line of error, signals, readers that leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.fakes.fake_daemon import FakeDaemon, Script
from tests.integration.command_line import OUTPOST, environment, one_line, outpost, start

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(30)]


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_value", os.EX_DATAERR),
        (400, "context_length_exceeded", os.EX_DATAERR),
        (403, "not_allowed", os.EX_NOPERM),
        (404, "model_not_found", os.EX_NOINPUT),
        (413, "body_too_large", os.EX_DATAERR),
        (429, "rate_limit_exceeded", os.EX_TEMPFAIL),
        (500, "internal_error", os.EX_SOFTWARE),
        (503, "overloaded", os.EX_TEMPFAIL),
        (503, "insufficient_memory", os.EX_UNAVAILABLE),
        (503, "runner_died", os.EX_TEMPFAIL),
    ],
)
def test_each_refusal_has_its_exit_code(
    daemon: FakeDaemon, tmp_path: Path, status: int, code: str, exit_code: int
) -> None:
    daemon.script.refusal = (status, code, "what is wrong and what to do")
    done = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert done.returncode == exit_code
    assert one_line(done.stderr).startswith("what is wrong and what to do")
    assert done.stdout == ""


def test_an_error_event_in_mid_answer_keeps_the_text_and_tells_the_cause(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    daemon.script.error_after = 2
    done = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert done.returncode == os.EX_TEMPFAIL
    assert done.stdout == "Hello there\n"
    assert one_line(done.stderr) == "the runner of 'tiny' died (SIGKILL)"


def test_a_connection_that_breaks_off_is_told(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.break_after = 2
    done = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert done.returncode == os.EX_TEMPFAIL
    assert done.stdout == "Hello there\n"
    assert "in mid-answer; try again" in one_line(done.stderr)


def test_no_daemon_says_how_to_start_one(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for arguments in (("run", "tiny", "hi"), ("ps",), ("health",), ("bench",)):
            done = outpost(None, tmp_path, *arguments, "--host", address)
            assert done.returncode == os.EX_UNAVAILABLE
            assert (
                one_line(done.stderr)
                == f"no daemon answers at http://{address} (--host); start one with: outpost serve"
            )


def test_a_server_that_speaks_something_else_is_a_protocol_error(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.no_api = True
    done = outpost(daemon, tmp_path, "ps")
    assert done.returncode == os.EX_PROTOCOL
    assert "does not speak the OpenAI API" in one_line(done.stderr)


def test_a_port_that_speaks_no_http_is_a_protocol_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        running = subprocess.Popen(
            [*OUTPOST, "ps", "--host", f"127.0.0.1:{server.getsockname()[1]}"],
            env=environment(tmp_path),
            stderr=subprocess.PIPE,
        )
        server.settimeout(10.0)
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"220 mail.example ESMTP\r\n\r\n")
            _, told = running.communicate(timeout=10)
    assert running.returncode == os.EX_PROTOCOL
    assert "does not speak HTTP" in one_line(told.decode())


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = outpost(
            None, tmp_path, "ps", "--host", f"127.0.0.1:{server.getsockname()[1]}", "--timeout", "0.3"
        )
    assert done.returncode == os.EX_TEMPFAIL
    assert "was silent for" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["run", "tiny"], os.EX_USAGE, "no prompt"),
        (["run", "tiny", "hi", "--heat", "1"], os.EX_USAGE, "unrecognized arguments: --heat 1"),
        (["run", "tiny", "hi", "--top-k", "x"], os.EX_USAGE, "'x' is not a whole number"),
        (["run", "tiny", "hi", "--format", "missing.json"], os.EX_NOINPUT, "cannot read missing.json"),
        (["run", "tiny", "hi", "--format", "bad.json"], os.EX_DATAERR, "is not JSON"),
        (["run", "tiny", "hi", "--key-file", "missing.key"], os.EX_NOINPUT, "missing.key"),
        (["run", "nope", "hi"], os.EX_NOINPUT, "model 'nope' not found; available: tiny"),
        (["bench", "nope"], os.EX_NOINPUT, "model 'nope' not found; available: tiny"),
        (["bench", "--clients", "0"], os.EX_USAGE, "at least 1"),
        (["ps", "--host", "ftp://x"], os.EX_USAGE, "is no address"),
        (["ps", "--data", "nowhere"], os.EX_UNAVAILABLE, "no daemon runs in nowhere"),
        (["dance"], os.EX_USAGE, "dance"),
        ([], os.EX_USAGE, "name a command"),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    daemon: FakeDaemon, tmp_path: Path, arguments: list[str], exit_code: int, told: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    done = outpost(daemon, tmp_path, *arguments)
    assert done.returncode == exit_code
    assert told in one_line(done.stderr)
    assert done.stdout == ""


def test_binary_input_is_bad_data(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "run", "tiny", "what is this", piped=b"\x89PNG\xff\xfe")
    assert done.returncode == os.EX_DATAERR
    assert "not UTF-8" in one_line(done.stderr)


def test_with_json_an_error_is_json_too(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "run", "nope", "hi", "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit"]) == ("model_not_found", os.EX_NOINPUT)


def test_the_key_comes_from_a_file_or_the_environment(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.key = "op-secret"
    (tmp_path / "key").write_text("op-secret\n")
    refused = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert refused.returncode == os.EX_NOPERM
    assert "OUTPOST_API_KEY or --key-file" in one_line(refused.stderr)
    assert outpost(daemon, tmp_path, "run", "tiny", "hi", "--key-file", "key").returncode == 0
    assert outpost(daemon, tmp_path, "run", "tiny", "hi", OUTPOST_API_KEY="op-secret").returncode == 0


def test_a_reader_that_leaves_ends_it_quietly(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = Script(words=[f"word{index}\n" for index in range(500)], pause_s=0.002)
    running = start(daemon, tmp_path, ["run", "tiny", "hi"], stdin=subprocess.DEVNULL)
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == b"word0\n"
    running.stdout.close()
    with running.stderr:
        assert running.stderr.read() == b""
    assert running.wait(timeout=10) == 141
    assert daemon.cancelled.wait(5.0)


def test_sigint_ends_with_130_and_stops_the_computing(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = Script(words=[f"word{index}\n" for index in range(500)], pause_s=0.02)
    running = start(daemon, tmp_path, ["run", "tiny", "hi"], stdin=subprocess.DEVNULL)
    assert running.stdout is not None
    assert running.stdout.readline() == b"word0\n"
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=10)
    assert (running.returncode, told) == (130, b"")
    assert daemon.cancelled.wait(5.0)
