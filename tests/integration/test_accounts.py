"""Accounts of a process that is killed, and of a daemon: the loss is bounded, and nothing counts twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.access import keys as access_keys
from appliance.access.usage_report import Question, report
from appliance.daemon.account_policy import AccountsPolicy
from appliance.daemon.accounts import FLUSH_S, Accounts
from tests.daemon import Daemon
from tests.fakes.counting_process import GRANT
from tests.fakes.model_files import generator

ROOT = Path(__file__).parents[2]
LOSS_S = 2.0
"""What may be lost; a machine that is busy with other tests is given some more."""
SLACK_S = 1.0


def outpost(*words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("outpost"))
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=30, check=False)


def counted(data: Path) -> int:
    lines = report(data, Question(by=("model",)), now_s=time.time())
    return sum(line.requests for line in lines)


def killed_after(data: Path, seconds: float) -> tuple[int, int]:
    """Requests that were counted, and of them those that were `LOSS_S` old when it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.counting_process", str(data)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    killed_s = time.monotonic()
    process.kill()
    said = [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
    process.stdout.close()
    process.wait()
    old = [int(number) for number, at_s in said if float(at_s) <= killed_s - LOSS_S - SLACK_S]
    return int(said[-1][0]), max(old, default=0)


def test_of_a_process_that_is_killed_two_seconds_are_lost_and_nothing_counts_twice(tmp_path: Path) -> None:
    all_of, old = 0, 0
    for seconds in (3.4, 0.7, 1.3):
        before = counted(tmp_path)
        whole, durable = killed_after(tmp_path, seconds)
        all_of, old = before + whole + 1, before + durable
        assert old <= counted(tmp_path) <= all_of
    again = Accounts(AccountsPolicy(data=tmp_path))
    (day,) = again.quotas.allowances(GRANT)
    assert day.limit - day.remaining == 3 * counted(tmp_path)
    again.stop()


def test_what_is_counted_is_on_disk_within_two_seconds_and_then_nothing_is_written(tmp_path: Path) -> None:
    accounts = Accounts(AccountsPolicy(data=tmp_path))
    accounts.start()
    try:
        accounts.ended("k", "m", failed=False, served_s=0.0)
        time.sleep(FLUSH_S + SLACK_S)
        assert counted(tmp_path) == 1
        files = [path for path in tmp_path.iterdir() if not path.name.endswith("-shm")]
        before = [(path.name, path.stat().st_mtime_ns) for path in files]
        time.sleep(2 * FLUSH_S)
        assert [(path.name, path.stat().st_mtime_ns) for path in files] == before
    finally:
        accounts.stop()


class Keyed:
    """A daemon with two keys and a small model."""

    def __init__(self, directory: Path) -> None:
        self.user, self.admin = access_keys.generate(), access_keys.generate()
        config = (
            f'[access.keys]\n{self.user.key_id} = "{self.user.sha256}"\n{self.admin.key_id} = '
            f'{{ sha256 = "{self.admin.sha256}", scopes = ["system", "metrics", "models:write"] }}\n'
            "[quotas]\ntokens_per_day = 60\nrequests_per_min = 30\n"
        )
        self.daemon = Daemon(directory, models={"tiny": generator()}, config=config)

    def chat(self, **fields: Any) -> httpx.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, **fields}
        return httpx.post(
            f"{self.daemon.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {self.user.text}"},
            timeout=60,
            trust_env=False,
        )


@pytest.mark.timeout(120)
def test_quotas_usage_and_audit_of_a_daemon_outlive_its_sudden_death(tmp_path: Path) -> None:
    keyed = Keyed(tmp_path / "one")
    daemon = keyed.daemon
    key_file = tmp_path / "key"
    key_file.write_text(keyed.user.text)
    with daemon:
        first = keyed.chat()
        used = first.json()["usage"]["total_tokens"]
        assert first.headers["x-ratelimit-limit-tokens"] == "60"
        assert first.headers["x-ratelimit-remaining-tokens"] == str(60 - used)
        httpx.post(
            f"{daemon.url}/outpost/v1/operations",
            json={"verb": "import", "path": str(generator()), "name": "kept"},
            headers={"Authorization": f"Bearer {keyed.admin.text}"},
            timeout=60,
            trust_env=False,
        )
        time.sleep(FLUSH_S + SLACK_S)
        daemon.kill()
        daemon.start()
        codes = []
        while (answer := keyed.chat()).status_code == 200:
            codes.append(answer.headers["x-ratelimit-remaining-tokens"])
        assert codes[0] == str(max(0, 60 - 2 * used))
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) > 3600
        time.sleep(FLUSH_S + SLACK_S)
        told = outpost("usage", "--data", str(daemon.data), "--key-file", str(key_file), "--json")
        (row,) = [row for row in json.loads(told.stdout)["data"] if row["model"] == "tiny"]
        assert (row["key"], row["requests"], row["errors"]) == (keyed.user.key_id, len(codes) + 2, 1)
        assert row["prompt_tokens"] + row["output_tokens"] == used * (len(codes) + 1)
        metrics = httpx.get(
            f"{daemon.url}/metrics", headers={"Authorization": f"Bearer {keyed.admin.text}"}, trust_env=False
        ).text
        assert 'outpost_rate_limited_total{bound="tokens_per_day"} 1' in metrics
    whole = outpost("usage", "--data", str(daemon.data), "--csv", "--by", "model")
    assert f"tiny,,{len(codes) + 2},1," in whole.stdout
    assert "TIME" in outpost("usage", "--data", str(daemon.data), "--by", "day").stdout
    shown = json.loads(outpost("audit", "show", "--data", str(daemon.data), "--json").stdout)["entries"]
    assert [entry["event"] for entry in shown] == ["daemon_started", "model_import", "daemon_started"]
    assert (shown[1]["actor"], shown[1]["facts"]["names"]) == (keyed.admin.key_id, ["kept:latest"])
    assert [entry["facts"].get("config_changed") for entry in shown] == [True, None, False]


@pytest.mark.timeout(120)
def test_what_a_command_without_a_daemon_changes_is_in_the_log_and_a_change_of_it_is_found(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    where = ("--data", str(data))
    assert outpost("audit", "verify", *where).returncode == 0
    assert outpost("import", str(generator()), "tiny", *where).returncode == 0
    assert outpost("rm", "tiny", *where).returncode == 0
    shown = outpost("audit", "show", *where).stdout
    assert [line.split()[2] for line in shown.splitlines()] == ["model_import", "model_remove"]
    assert "2 entries, 1 to 2, whole" in outpost("audit", "verify", *where).stdout
    (path,) = (data / "audit").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"model_remove", b"model_rename"))
    found = outpost("audit", "verify", *where, "--json")
    assert found.returncode == 65
    assert json.loads(found.stdout)["findings"][0]["damage"] == "forged"
    (data / "device.key").unlink()
    assert outpost("audit", "verify", *where).returncode == 65
    assert outpost("audit", "show", "--data", str(tmp_path / "none")).returncode == 66
