"""The commands as programs: pipes, signals, exit codes and what they write, against the fake daemon."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.fake_daemon import FakeDaemon
from tests.integration.command_line import environment, one_line, outpost

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]


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


# ── ps, health, version, bench, discovery ───────────────────────────────────────────────────────────────────


def test_ps_shows_a_table_and_json(daemon: FakeDaemon, tmp_path: Path) -> None:
    lines = outpost(daemon, tmp_path, "ps").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "MEMORY", "RUNNING", "CONTEXT", "DEVICE", "SANDBOX"]
    assert lines[1].split() == ["tiny", "ready", "92", "MB", "212", "MB", "1", "4096", "cpu", "full"]
    model = json.loads(outpost(daemon, tmp_path, "ps", "--json").stdout)["models"][0]
    assert (model["name"], model["running"], model["sandbox"]) == ("tiny", 1, "full")


def test_queue_shows_who_waits_and_says_when_nobody_does(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.queue = []
    assert outpost(daemon, tmp_path, "queue").stdout == "nobody waits\n"
    item = {
        "id": "req_1",
        "object": "queue.item",
        "model": "tiny",
        "owner": "127.0.0.1",
        "priority": "background",
        "aged": True,
        "position": 2,
        "eta_s": 90.0,
        "waited_s": 61.5,
        "deadline_in_s": None,
    }
    daemon.script.queue = [item]
    lines = outpost(daemon, tmp_path, "queue").stdout.splitlines()
    assert lines[0].split() == ["ID", "MODEL", "CLASS", "POSITION", "WAITED", "ETA", "DEADLINE", "KEY"]
    assert lines[1].split() == [
        *("req_1", "tiny", "background", "(aged)", "2", "1m01s", "1m30s", "-", "127.0.0.1"),
    ]
    assert json.loads(outpost(daemon, tmp_path, "queue", "--json").stdout)["waiting"] == [item]


def test_queue_says_what_to_do_where_the_server_has_none(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = outpost(daemon, tmp_path, "queue")
    assert done.returncode != 0
    assert done.stderr.startswith("outpost: ")


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
        "heavy = {'http.client', 'httpx', 'prompt_toolkit', 'pydantic', 'msgspec', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
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
