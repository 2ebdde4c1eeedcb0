"""The commands as programs: pipes, signals, exit codes and what they write, against the fake daemon."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes.fake_daemon import FakeDaemon, Script

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

OUTPOST = [sys.executable, "-m", "appliance"]


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    with FakeDaemon() as running:
        yield running


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more}


def outpost(
    daemon: FakeDaemon | None, home: Path, *arguments: str, piped: str | bytes = b"", **env: str
) -> subprocess.CompletedProcess[str]:
    if daemon is not None:
        env.setdefault("OUTPOST_HOST", daemon.address)
    done = subprocess.run(
        [*OUTPOST, *arguments],
        input=piped.encode() if isinstance(piped, str) else piped,
        env=environment(home, **env),
        cwd=home,
        capture_output=True,
        timeout=20,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(daemon: FakeDaemon, home: Path, arguments: Sequence[str], *, stdin: int) -> subprocess.Popen[bytes]:
    env = environment(home, OUTPOST_HOST=daemon.address)
    return subprocess.Popen(
        [*OUTPOST, *arguments], env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def one_line(text: str) -> str:
    """The one line of `text`, without the program's name."""
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert text.startswith("outpost: ")
    return text.removeprefix("outpost: ").strip()


# ── run ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_run_prints_the_answer_and_nothing_else(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there, friend.\n", "")
    assert daemon.requests[0]["stream_options"] == {"include_usage": True}


def test_run_takes_options_between_its_words_and_joins_the_words(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "run", "tiny", "--temperature", "0", "why", "--max-tokens", "2", "so")
    assert done.stdout == "Hello there\n"
    sent = daemon.requests[0]
    assert (sent["temperature"], sent["max_tokens"]) == (0.0, 2)
    assert sent["messages"] == [{"role": "user", "content": "why so"}]


def test_piped_text_is_put_in_front_of_the_prompt(daemon: FakeDaemon, tmp_path: Path) -> None:
    outpost(daemon, tmp_path, "run", "tiny", "sum up", piped="line one\nline two\n")
    assert daemon.requests[0]["messages"] == [{"role": "user", "content": "line one\nline two\n\nsum up"}]


def test_piped_text_alone_is_the_prompt(daemon: FakeDaemon, tmp_path: Path) -> None:
    assert outpost(daemon, tmp_path, "run", "tiny", piped="echo: piped").stdout == "piped\n"


def test_a_quoted_prompt_goes_to_the_only_model(daemon: FakeDaemon, tmp_path: Path) -> None:
    assert outpost(daemon, tmp_path, "run", "echo: well done").stdout == "well done\n"


def test_without_a_name_and_with_two_models_run_asks_for_one(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.models = ["a", "b"]
    done = outpost(daemon, tmp_path, "run", "what now")
    assert done.returncode == os.EX_USAGE
    assert one_line(done.stderr) == "name a model: a, b"


def test_run_json_prints_one_object_with_counts_and_times(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.reasoning = ["hm"]
    answer = json.loads(outpost(daemon, tmp_path, "run", "tiny", "hi", "--json").stdout)
    assert answer["content"] == "Hello there, friend."
    assert answer["reasoning"] == "hm"
    assert answer["finish_reason"] == "stop"
    assert (answer["prompt_tokens"], answer["cached_tokens"], answer["completion_tokens"]) == (1, 1, 3)
    assert 0 < answer["first_token_s"] <= answer["total_s"]


def test_reasoning_stays_out_of_a_pipe(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.reasoning = ["hm"]
    assert outpost(daemon, tmp_path, "run", "tiny", "hi").stdout == "Hello there, friend.\n"


def test_a_schema_file_becomes_the_response_format(daemon: FakeDaemon, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    (tmp_path / "person.json").write_text(json.dumps(schema))
    outpost(daemon, tmp_path, "run", "tiny", "hi", "--format", "person.json", "--system", "S", "--think")
    sent = daemon.requests[0]
    assert sent["response_format"]["json_schema"] == {"name": "person", "schema": schema, "strict": True}
    assert sent["messages"][0] == {"role": "system", "content": "S"}
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}


def test_verbose_prints_timings_to_stderr(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "run", "tiny", "hi", "--verbose")
    assert done.stdout == "Hello there, friend.\n"
    labels = [line.partition(":")[0] for line in done.stderr.strip().splitlines()]
    assert labels[:4] == ["total duration", "load duration", "time to first token", "prompt eval count"]


def test_a_warning_of_the_server_is_told(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.warning = "user: accepted and not honoured"
    done = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert one_line(done.stderr) == "warning: user: accepted and not honoured"


def test_an_answer_cut_by_the_context_is_told(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.finish_reason = "length"
    daemon.script.n_ctx = 4  # one token of the prompt, three of the answer
    assert "context is full (4)" in one_line(outpost(daemon, tmp_path, "run", "tiny", "hi").stderr)
    assert outpost(daemon, tmp_path, "run", "tiny", "hi", "--max-tokens", "3").stderr == ""


def test_an_answer_cut_by_the_models_own_length_names_the_way_to_a_longer_one(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    daemon.script.finish_reason = "length"
    told = one_line(outpost(daemon, tmp_path, "run", "tiny", "hi").stderr)
    assert "(num_predict)" in told
    assert "--max-tokens N" in told
    assert "--ctx" not in told


def test_a_loading_model_is_waited_for(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.loading_times = 2
    done = outpost(daemon, tmp_path, "run", "tiny", "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there, friend.\n", "")


def test_a_model_that_loads_too_long_is_temporary(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.loading_times = 1000
    assert outpost(daemon, tmp_path, "run", "tiny", "hi", "--wait", "0.3").returncode == os.EX_TEMPFAIL


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────────────────


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


# ── ps, health, version, bench, discovery ───────────────────────────────────────────────────────────────────


def test_ps_shows_a_table_and_json(daemon: FakeDaemon, tmp_path: Path) -> None:
    lines = outpost(daemon, tmp_path, "ps").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "MEMORY", "RUNNING", "CONTEXT", "DEVICE", "SANDBOX"]
    assert lines[1].split() == ["tiny", "ready", "92", "MB", "212", "MB", "1", "4096", "cpu", "full"]
    model = json.loads(outpost(daemon, tmp_path, "ps", "--json").stdout)["models"][0]
    assert (model["name"], model["running"], model["sandbox"]) == ("tiny", 1, "full")


def test_health_is_0_when_ready_and_69_when_not(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "health")
    assert (done.returncode, done.stdout) == (0, f"{daemon.url}: ready\n")
    daemon.script.ready = False
    done = outpost(daemon, tmp_path, "health")
    assert (done.returncode, done.stdout) == (
        os.EX_UNAVAILABLE,
        f"{daemon.url}: not ready\n  tiny is failed: crashed\n",
    )
    told = json.loads(outpost(daemon, tmp_path, "health", "--json").stdout)
    assert told["ready"] is False
    assert told["reasons"] == ["tiny is failed: crashed"]
    assert told["runners"][0]["model"] == "tiny"


def test_version_needs_no_daemon(tmp_path: Path) -> None:
    shown = outpost(None, tmp_path, "version").stdout
    assert shown.startswith("outpost ")
    assert outpost(None, tmp_path, "--version").stdout == shown
    assert "version" in json.loads(outpost(None, tmp_path, "version", "--json").stdout)


def test_bench_measures_each_client_count(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.pause_s = 0.01
    arguments = ("--clients", "1,3", "--tokens", "3", "--repeats", "2", "--json")
    report = json.loads(outpost(daemon, tmp_path, "bench", "tiny", *arguments).stdout)
    assert [run["clients"] for run in report["runs"]] == [1, 3]
    assert [run["tokens"] for run in report["runs"]] == [3, 9]
    assert all(
        run["errors"] == 0 and run["tokens_per_s"] > 0 and run["gap_p99_ms"] > 0 for run in report["runs"]
    )
    prompts = [request["messages"][0]["content"] for request in daemon.requests]
    assert len(prompts) == len(set(prompts)) == 1 + 2 * (1 + 3)


def test_bench_measures_a_server_that_knows_no_ignore_eos(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.unknown_field = "ignore_eos"
    done = outpost(None, tmp_path, "bench", "--url", f"{daemon.url}/v1", "--clients", "2", "--repeats", "1")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[0] == "2"


def test_the_daemon_of_a_data_directory_is_found(daemon: FakeDaemon, tmp_path: Path) -> None:
    record = json.dumps({"address": daemon.url, "pid": os.getpid()})
    for directory in (tmp_path / ".outpost", tmp_path / "other"):
        directory.mkdir()
        (directory / "daemon.json").write_text(record)
    assert outpost(None, tmp_path, "health").stdout == f"{daemon.url}: ready\n"
    assert outpost(None, tmp_path, "health", "--data", "other").returncode == 0


def test_help_is_fast(tmp_path: Path) -> None:
    def cpu_s() -> float:
        """Of all children that ended: unlike the wall clock it does not count what the neighbours take."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def once() -> float:
        before_s = cpu_s()
        assert outpost(None, tmp_path, "--help").returncode == 0
        return cpu_s() - before_s

    assert min(once() for _ in range(5)) < 0.15


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom appliance.cli.main import main\nmain(['run', '--help'])\n"
        "print(sorted({'httpx', 'prompt_toolkit', 'pydantic', 'msgspec', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
