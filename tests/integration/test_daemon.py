"""The daemon as a process: what it imports, what it costs when idle, how it starts and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from appliance.config import Config, ModelSettings
from appliance.daemon.policies import queue_policy, runner_policy
from appliance.daemon.stored_models import all_specs
from tests.fakes.fake_engine import write_model
from tests.integration.supervisor.conftest import eventually

MAX_IDLE_RSS_BYTES = 76 * 1024 * 1024
"""Of which some 3 MiB are rich: structlog imports it where the development environment has it."""
MAX_IDLE_CORE = 0.005
"""It looks at its memory and at its sensors, some times a second."""
WATCHED_S = 10.0


class Served:
    """A daemon in a directory of its own, serving a model that is never loaded."""

    def __init__(
        self,
        directory: Path,
        *,
        environment: dict[str, str] | None = None,
        preload: bool = False,
        config: str = "",
    ) -> None:
        self.data = directory / "data"
        path = write_model(directory / "m.gguf")
        outpost = str(Path(sys.executable).with_name("outpost"))
        (directory / "outpost.toml").write_text(config)
        self.process = subprocess.Popen(
            [
                *(outpost, "serve", "--config", str(directory / "outpost.toml"), "--listen", "127.0.0.1:0"),
                *("--data", str(self.data), "--model", f"m={path}"),
                *(("--preload", "m") if preload else ()),
            ],
            stdout=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )

    @property
    def is_ready(self) -> bool:
        return (self.data / "daemon.json").exists()

    def get(self, path: str) -> dict[str, object]:
        told = json.loads(self.text(path))
        assert isinstance(told, dict)
        return told

    def text(self, path: str) -> str:
        """The body, whatever the status."""
        return self.ask(path).text

    def ask(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        address = json.loads((self.data / "daemon.json").read_text())["address"]
        return httpx.get(f"http://{address}{path}", headers=headers, timeout=5.0, trust_env=False)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10.0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    daemon = Served(tmp_path)
    try:
        eventually(lambda: daemon.is_ready, within_s=15.0)
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_the_daemon_imports_no_inference_code() -> None:
    code = (
        "import sys, appliance.daemon.composition, appliance.cli.serve;"
        "print([m for m in ('llama_cpp', 'numpy', 'jinja2', 'appliance.engine', 'appliance.runner')"
        " if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.timeout(60)
@pytest.mark.alone
def test_an_idle_daemon_stays_small_and_asleep(served: Served) -> None:
    assert served.get("/healthz")["live"] is True
    process = psutil.Process(served.process.pid)
    before = process.cpu_times()
    time.sleep(WATCHED_S)
    after = process.cpu_times()
    spent_s = after.user + after.system - before.user - before.system
    assert process.memory_info().rss <= MAX_IDLE_RSS_BYTES
    assert spent_s / WATCHED_S < MAX_IDLE_CORE


def test_sigterm_ends_it_cleanly_and_takes_its_record_away(served: Served) -> None:
    assert served.stop() == 0
    assert not served.is_ready


def test_a_second_daemon_in_the_same_directory_is_refused(served: Served, tmp_path: Path) -> None:
    second = Served(tmp_path)
    assert second.process.wait(15.0) == 75
    assert served.get("/healthz")["live"] is True


def test_a_daemon_is_ready_for_a_model_that_waits_for_its_first_request(served: Served) -> None:
    told = served.get("/readyz")
    assert {"cooling", "degraded"} <= told.keys()
    assert {key: value for key, value in told.items() if key not in {"cooling", "degraded"}} == {
        "status": "ready",
        "reasons": [],
        "warnings": [],
        "models": [{"name": "m", "state": "stopped", "reason": None}],
    }


def test_a_preloaded_model_that_does_not_load_is_a_reason_and_no_end(tmp_path: Path) -> None:
    daemon = Served(tmp_path, preload=True)
    try:
        eventually(lambda: daemon.is_ready, within_s=15.0)
        eventually(lambda: "m is failed" in str(daemon.get("/readyz")["reasons"]), within_s=15.0)
        assert daemon.get("/healthz")["live"] is True
        assert daemon.get("/readyz")["status"] == "not ready"
        assert 'outpost_runner_state{model="m",state="failed"} 1' in daemon.text("/metrics")
        assert daemon.stop() == 0
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_configured_names_and_origins_are_let_in_and_others_are_not(tmp_path: Path) -> None:
    settings = '[server]\nnames = ["outpost.example"]\norigins = ["https://app.example"]\n'
    daemon = Served(tmp_path, config=settings)
    try:
        eventually(lambda: daemon.is_ready, within_s=15.0)
        named = daemon.ask("/v1/models", {"Host": "outpost.example", "Origin": "https://app.example"})
        assert named.status_code == 200
        assert named.headers["access-control-allow-origin"] == "https://app.example"
        assert daemon.ask("/v1/models", {"Host": "other.example"}).status_code == 403
        foreign = daemon.ask("/v1/models", {"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in foreign.headers
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_systemd_hears_ready_watchdog_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(15.0)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        daemon = Served(tmp_path, environment=environment)
        try:
            assert sock.recv(200).startswith(b"READY=1\n")
            assert sock.recv(200) == b"WATCHDOG=1"
            daemon.process.send_signal(signal.SIGTERM)
            while (heard := sock.recv(200)) == b"WATCHDOG=1":
                pass
            assert heard == b"STOPPING=1"
            assert daemon.process.wait(10.0) == 0
        finally:
            daemon.process.kill()
            daemon.process.wait()


def test_the_configuration_reaches_the_policies() -> None:
    config = Config(models={"m": ModelSettings(path=Path("/m.gguf"), n_ctx_seq=128)})
    (spec,) = all_specs(config, (), preload=["m"])
    assert spec.path == "/m.gguf"
    assert spec.placement.n_ctx_seq == 128
    assert spec.placement.n_seq_max == 64
    assert spec.preload
    assert queue_policy(config).max_waiting == 256
    assert runner_policy(config).sandbox == "auto"
