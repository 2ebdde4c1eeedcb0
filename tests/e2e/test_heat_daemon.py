"""The daemon as a program on a simulated board: hot, and with a sensor that vanishes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import tiny_gguf
from tests.fakes.thermal_board import ORIN, Board, BoardFiles
from tests.integration.supervisor.conftest import eventually


class BoardDaemon:
    """The daemon as a program on a simulated board."""

    def __init__(self, directory: Path, board: Board, model: Path) -> None:
        self.files = BoardFiles(directory / "board", board)
        self.files.tell(50.0)
        self._data = directory / "data"
        config = directory / "outpost.toml"
        config.write_text(f'[models]\nm = "{model}"\n[engine]\nn_ctx_seq = 2048\n[log]\nformat = "json"\n')
        program = Path(__file__).parents[1] / "fakes" / "daemon_on_board.py"
        self._log = (directory / "daemon.log").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(directory / "board"), str(config), str(self._data)],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    @property
    def url(self) -> str:
        return f"http://{json.loads((self._data / 'daemon.json').read_text())['address']}"

    def await_start(self) -> None:
        eventually(lambda: (self._data / "daemon.json").exists(), within_s=30.0)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20.0)
        self._log.close()

    def ask(self, *, max_tokens: int = 4, stream: bool = False) -> httpx.Response:
        body = {
            "model": "m",
            "prompt": "Hello world",
            "max_tokens": max_tokens,
            "stream": stream,
            "ignore_eos": True,
        }
        return httpx.post(f"{self.url}/v1/completions", json=body, timeout=60.0, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10.0, trust_env=False)

    def cooling(self) -> dict[str, Any]:
        told: dict[str, Any] = self.get("/healthz").json()["cooling"]
        return told


@pytest.fixture
def on_board(tmp_path: Path) -> Iterator[Callable[[Board], BoardDaemon]]:
    made: list[BoardDaemon] = []
    shape = tiny_gguf.Shape(n_layer=4, n_embd=256, n_head=4, n_head_kv=4, n_ff=1024, n_ctx_train=4096)

    def start(board: Board) -> BoardDaemon:
        model = tiny_gguf.write_generator(tmp_path / "model.gguf", shape=shape)
        made.append(BoardDaemon(tmp_path, board, model))
        made[-1].await_start()
        return made[-1]

    yield start
    for daemon in made:
        daemon.stop()


def cli(daemon: BoardDaemon, *arguments: str) -> str:
    outpost = Path(sys.executable).parent / "outpost"
    done = subprocess.run(
        [str(outpost), *arguments, "--host", daemon.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.timeout(150)
def test_a_hot_daemon_refuses_new_requests_finishes_running_ones_and_opens_when_cool(
    on_board: Callable[[Board], BoardDaemon],
) -> None:
    daemon = on_board(ORIN)
    assert daemon.ask().status_code == 200
    eventually(lambda: daemon.cooling()["state"] == "normal" and daemon.cooling()["zones"], within_s=5.0)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(daemon.ask, max_tokens=1200, stream=True)
        eventually(lambda: daemon.get("/healthz").json()["runners"][0]["running"] == 1, within_s=10.0)
        daemon.files.tell(98.8)
        daemon.files.throttles(True)
        eventually(lambda: daemon.cooling()["state"] == "closed", within_s=5.0)
        refused = daemon.ask()
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "thermal_throttle"
        assert "0.2 K below its limit" in refused.json()["error"]["message"]
        assert 5 <= int(refused.headers["Retry-After"]) <= 300
        assert daemon.get("/readyz").status_code == 503
        assert 'outpost_cooling_state{state="closed"} 1' in daemon.get("/metrics").text
        assert "cooling: closed (hot): the board throttles for heat" in cli(daemon, "health")
        assert "no new requests" in cli(daemon, "ps")
        daemon.files.throttles(False)
        daemon.files.tell(60.0)
        answer = running.result(90.0)
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert len(re.findall(r'"finish_reason":"length"', answer.text)) == 1
    eventually(lambda: daemon.cooling()["admits"], within_s=60.0)
    assert daemon.ask().status_code == 200
    assert daemon.get("/readyz").status_code == 200
    told = [json.loads(line) for line in daemon.log().splitlines() if '"cooling_changed"' in line]
    assert [line["state"] for line in told][:1] == ["closed"]
    assert told[0]["cause"] == "hot"


@pytest.mark.timeout(60)
def test_a_daemon_whose_sensor_vanishes_tells_so_and_goes_on_at_a_safe_pace(
    on_board: Callable[[Board], BoardDaemon],
) -> None:
    daemon = on_board(ORIN)
    eventually(lambda: bool(daemon.cooling()["zones"]), within_s=5.0)
    daemon.files.vanish()
    eventually(lambda: daemon.cooling()["cause"] == "sensor_fault", within_s=15.0)
    cooling = daemon.cooling()
    assert (cooling["state"], cooling["duty"], cooling["admits"]) == ("paced", 0.5, True)
    assert cooling["zones"][0]["temperature_celsius"] is None
    assert daemon.ask().status_code == 200
    assert 'outpost_zone_fault{zone="cpu"} 1' in daemon.get("/metrics").text
    assert "sensor_fault" in cli(daemon, "ps")
