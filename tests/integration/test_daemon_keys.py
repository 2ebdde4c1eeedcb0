"""Keys of a real daemon with a model: made, used, revoked, claimed; and what a kill leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.daemon import Daemon
from tests.integration.command_line import environment, run
from tests.integration.supervisor.conftest import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

KEYS = "/outpost/v1/keys"


def ask(daemon: Daemon, method: str, path: str, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.request(
        method, daemon.url + path, json=body or None, headers=headers, timeout=30, trust_env=False
    )


def chat(daemon: Daemon, key: str | None, model: str = "tiny", **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "hello"}]
    return ask(daemon, "POST", "/v1/chat/completions", key, model=model, messages=messages, **more)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["error"]["code"])


@pytest.fixture
def daemon(tmp_path: Path, tiny_model: Path) -> Iterator[Daemon]:
    models = {"tiny": tiny_model, "other": tiny_model}
    with Daemon(tmp_path / "daemon", models=models, config="[server]\ndrain_s = 0.5\n") as running:
        yield running


def test_a_key_is_made_used_bounded_and_revoked(daemon: Daemon) -> None:
    assert chat(daemon, None, max_tokens=2).status_code == 200
    admin = ask(daemon, "POST", KEYS, scopes=["keys:admin"]).json()["key"]
    assert code_of(chat(daemon, None)) == (401, "invalid_api_key")
    made = ask(daemon, "POST", KEYS, admin, name="laptop", models=["tiny"], max_context=64).json()
    key = made["key"]

    whole = chat(daemon, key)
    assert whole.status_code == 200
    assert "at most 64 tokens" in whole.headers["x-outpost-warning"]
    assert whole.json()["usage"]["total_tokens"] <= 64
    short = chat(daemon, key, max_tokens=2)
    assert (short.status_code, "x-outpost-warning" in short.headers) == (200, False)
    refused = chat(daemon, key, max_tokens=64)
    assert code_of(refused) == (400, "context_length_exceeded")
    assert "this key may use 64 tokens" in refused.json()["error"]["message"]

    assert [model["id"] for model in ask(daemon, "GET", "/v1/models", key).json()["data"]] == ["tiny"]
    hidden, absent = chat(daemon, key, model="other"), chat(daemon, key, model="nobody")
    assert code_of(hidden) == code_of(absent) == (404, "model_not_found")
    assert hidden.text.replace("other", "nobody") == absent.text

    assert ask(daemon, "DELETE", f"{KEYS}/{made['id']}", admin).status_code == 200
    assert code_of(chat(daemon, key)) == (401, "invalid_api_key")


def test_a_key_is_there_after_a_kill_right_after_its_answer(daemon: Daemon) -> None:
    admin = ask(daemon, "POST", KEYS, scopes=["keys:admin"]).json()["key"]
    kept = []
    for number in range(3):
        made = ask(daemon, "POST", KEYS, admin, name=f"n{number}", scopes=["metrics"]).json()
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.kill()
        daemon.start()
        kept.append(made["key"])
        assert [ask(daemon, "GET", "/metrics", key).status_code for key in kept] == [200] * len(kept)
    assert ask(daemon, "DELETE", f"{KEYS}/{kept[0].split('_')[1]}", admin).status_code == 200
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.kill()
    daemon.start()
    assert code_of(ask(daemon, "GET", "/metrics", kept[0])) == (401, "invalid_api_key")


def test_the_command_line_asks_the_daemon(daemon: Daemon, tmp_path: Path) -> None:
    def outpost(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run(*words, "--data", str(daemon.data), env=environment(tmp_path, **env), cwd=tmp_path)

    first = outpost("keys", "create", "--name", "laptop")
    assert (first.returncode, "--scope keys:admin" in first.stderr) == (77, True)
    made = outpost("keys", "create", "--scope", "keys:admin,system", "--name", "ops")
    admin = made.stdout.strip()
    assert outpost("keys", "list").returncode == 77
    told = outpost("keys", "create", "--expires", "90d", "--model", "ti*", "--json", OUTPOST_API_KEY=admin)
    key = json.loads(told.stdout)
    assert chat(daemon, key["key"], max_tokens=1).status_code == 200
    turned = outpost("keys", "rotate", key["id"], OUTPOST_API_KEY=admin).stdout.strip()
    assert [chat(daemon, one, max_tokens=1).status_code for one in (key["key"], turned)] == [401, 200]
    assert "models:     ti*" in outpost("keys", "show", key["id"], OUTPOST_API_KEY=admin).stdout
    assert outpost("keys", "edit", key["id"], "--scope", "metrics", OUTPOST_API_KEY=admin).returncode == 0
    assert chat(daemon, turned).status_code == 403
    assert outpost("keys", "revoke", key["id"], OUTPOST_API_KEY=admin).returncode == 0
    table = outpost("keys", "list", OUTPOST_API_KEY=admin).stdout
    assert re.search(rf"^{key['id']} .* revoked ", table, re.MULTILINE)
    told_by = admin.split("_")[1]
    entries = json.loads(outpost("audit", "show", "--json").stdout)["entries"]
    assert [(one["event"], one["actor"]) for one in entries if one["facts"].get("key") == key["id"]] == [
        (event, told_by) for event in ("key_created", "key_rotated", "key_edited", "key_revoked")
    ]
    made_by = [one["actor"] for one in entries if one["facts"].get("key") == told_by]
    assert made_by == ["127.0.0.1"]
    assert outpost("audit", "verify").returncode == 0
    assert "details need a key" in outpost("health").stdout
    assert "details need a key" not in outpost("health", OUTPOST_API_KEY=admin).stdout
    secrets = [text.split("_", 2)[2] for text in (admin, key["key"], turned)]
    written = [path.read_bytes() for path in daemon.data.rglob("*") if path.is_file()]
    assert not any(secret.encode() in content for secret in secrets for content in written)
    assert not any(secret in daemon.log() for secret in secrets)


# ── the first boot ─────────────────────────────────────────────────────────────────────────────────────────


class Public:
    """A daemon that others than this machine can reach, without any key."""

    def __init__(self, directory: Path, config: str = "") -> None:
        self.data = directory / "data"
        (directory / "outpost.toml").write_text(config)
        self.stderr = (directory / "stderr").open("w+b")
        outpost = str(Path(sys.executable).with_name("outpost"))
        words = ["serve", "--config", str(directory / "outpost.toml"), "--data", str(self.data)]
        self.process = subprocess.Popen(
            [outpost, *words, "--listen", "0.0.0.0:0"], stdout=subprocess.DEVNULL, stderr=self.stderr
        )

    @property
    def url(self) -> str:
        port = json.loads((self.data / "daemon.json").read_text())["address"].rpartition(":")[2]
        return f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, key: str | None = None, **body: Any) -> httpx.Response:
        headers = {} if key is None else {"X-Api-Key": key}
        return httpx.request(
            method, self.url + path, json=body or None, headers=headers, timeout=10, trust_env=False
        )

    def console(self) -> str:
        self.stderr.flush()
        return Path(self.stderr.name).read_text()

    def claim(self) -> str:
        found = re.findall(r"outpost keys claim (\S+)", self.console())
        assert len(found) == 1
        return str(found[0])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)
        self.stderr.close()


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Public]:
    daemon = Public(tmp_path)
    try:
        eventually(lambda: "outpost keys claim" in daemon.console(), within_s=20.0)
        yield daemon
    finally:
        daemon.stop()


def test_a_public_daemon_without_keys_answers_to_health_and_the_claim_alone(public: Public) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", KEYS), ("GET", "/metrics"), ("POST", "/tokenize")):
        assert code_of(public.ask(method, path)) == (401, "invalid_api_key")
    assert public.ask("GET", "/healthz").json()["claim_pending"] is True
    assert public.claim() not in public.ask("GET", "/healthz").text
    assert stat.S_IMODE((public.data / "claim").stat().st_mode) == 0o600


def test_of_twenty_claims_at_once_exactly_one_wins(public: Public) -> None:
    claim, answers = public.claim(), []
    start = threading.Barrier(20)

    def take() -> None:
        start.wait(10)
        answers.append(public.ask("POST", "/outpost/v1/claim", claim=claim))

    threads = [threading.Thread(target=take, name=f"claimer-{number}") for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    won = [answer for answer in answers if answer.status_code == 201]
    assert len(won) == 1
    assert {answer.status_code for answer in answers} <= {201, 403, 429}
    admin = won[0].json()["key"]
    assert len(public.ask("GET", KEYS, admin).json()["data"]) == 1
    assert not (public.data / "claim").exists()
    assert public.ask("GET", "/healthz").json()["claim_pending"] is False


def test_the_owner_of_the_directory_claims_without_typing(public: Public, tmp_path: Path) -> None:
    done = run(
        "keys", "claim", "--name", "me", "--data", str(public.data), env=environment(tmp_path), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert public.ask("GET", KEYS, done.stdout.strip()).json()["data"][0]["name"] == "me"


def test_a_trusted_subnet_infers_without_a_key_and_health_warns(tmp_path: Path) -> None:
    daemon = Public(tmp_path, '[access]\ntrusted_subnets = ["127.0.0.0/8"]\n')
    try:
        eventually(lambda: "outpost keys claim" in daemon.console(), within_s=20.0)
        assert daemon.ask("GET", "/v1/models").status_code == 200
        assert daemon.ask("GET", KEYS).status_code == 401
        assert daemon.ask("GET", "/healthz").json()["warnings"] == [
            "clients of some subnets have models answer without a key"
        ]
        admin = daemon.ask("POST", "/outpost/v1/claim", claim=daemon.claim()).json()["key"]
        assert daemon.ask("GET", "/healthz", admin).json()["warnings"] == [
            "clients of 127.0.0.0/8 have models answer without a key"
        ]
    finally:
        daemon.stop()


def test_a_damaged_database_is_not_served_with(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/keys.db").write_bytes(b"\0" * 8192)
    done = run("serve", "--data", "data", "--listen", "127.0.0.1:0", env=environment(tmp_path), cwd=tmp_path)
    assert done.returncode == 74
    assert "from a backup" in done.stderr
    assert not (tmp_path / "data/daemon.json").exists()
