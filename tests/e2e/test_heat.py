"""Heat end to end, with the real runner and the real starter model on a simulated board.

An hour in a minute: all times of a first-order board are R x C, so a board with a sixtieth of the heat
capacity does in a second what the real one does in a minute, at the same temperatures. The governor's clock
runs sixty times as fast, too. What does not scale makes it harder, not easier: a step of the engine, a
message and a look take as long as they take, which is sixty times as long for the board.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.daemon.heat import order_of
from appliance.errors import Throttled
from appliance.hardware.root import Root
from appliance.supervisor.policy import ModelSpec, RunnerPolicy
from appliance.supervisor.process import RUNNER_COMMAND
from appliance.supervisor.supervisor import Supervisor
from appliance.thermal.loop import Clock, ThermalLoop
from appliance.thermal.values import Cooling
from appliance.wire.messages import Delta, EngineSettings, Generate, Placement, SamplingParams, TextPrompt
from tests.daemon import STARTER
from tests.fakes import tiny_gguf
from tests.fakes.thermal_board import LARGE, ORIN, Board, BoardFiles, Body, best_constant_rate
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, supervise

__all__ = ["supervise"]

SPEED = 60.0
STREAMS = 4
_POLICY = RunnerPolicy(heartbeat_timeout_s=20.0, load_timeout_s=60.0, stop_timeout_s=3.0, sandbox="auto")
_GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)


class FastClock(Clock):
    """The board's time passes `SPEED` times as fast as ours."""

    def now_s(self) -> float:
        return time.monotonic() * SPEED

    def wait(self, is_stopped: threading.Event, seconds: float) -> bool:
        return is_stopped.wait(max(0.008, seconds / SPEED))


class Load:
    """Streams that always ask for more. Counts tokens and refusals."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.tokens = [0] * STREAMS
        self.refusals = [0] * STREAMS
        self._supervisor = supervisor
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(STREAMS)
        self._streams = [self._pool.submit(self._run, number) for number in range(STREAMS)]

    @property
    def total_tokens(self) -> int:
        return sum(self.tokens)

    def stop(self) -> None:
        """Raises what a stream ended with: no request may fail otherwise than by a typed refusal."""
        self._is_over.set()
        for stream in self._streams:
            stream.result(30.0)
        self._pool.shutdown()

    def _run(self, number: int) -> None:
        prompt = TextPrompt(text=f"Story number {number}. Once upon a time")
        while not self._is_over.is_set():
            try:
                request = Generate(id=0, prompt=prompt, max_tokens=400, sampling=_GREEDY)
                generation = self._supervisor.generate("m", request, owner=str(number))
            except Throttled:
                self.refusals[number] += 1
                self._is_over.wait(0.1)
                continue
            try:
                self._follow(generation, number)
            finally:
                generation.close()

    def _follow(self, generation: Any, number: int) -> None:
        while not self._is_over.is_set():
            items = generation.next(20.0)
            assert items, "a stream that runs must go on"
            for item in items:
                if isinstance(item, Delta):
                    self.tokens[number] += item.tokens
                    if item.usage is not None:
                        return


class LiveBoard:
    """The board beside a real runner, warmed by the share of time that this really computes (its heartbeats
    tell). By CPU time, other work on this machine would be a board whose power changes as it likes.
    """

    def __init__(self, files: BoardFiles, board: Board, supervisor: Supervisor, *, full_share: float) -> None:
        self.body = Body(board)
        self.peak_celsius = 0.0
        self.crossings = 0
        self._files = files
        self._supervisor = supervisor
        self._full = full_share
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board")
        files.tell(self.body.chip_celsius)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        at_s, used_s, was_over = time.monotonic(), computing_s(self._supervisor), False
        while not self._is_over.wait(0.025):
            now_s, now_used_s = time.monotonic(), computing_s(self._supervisor)
            activity = (now_used_s - used_s) / (now_s - at_s) / self._full
            for _ in range(10):
                self.body.step(activity, (now_s - at_s) * SPEED / 10)
            at_s, used_s = now_s, now_used_s
            celsius = self.body.chip_celsius
            self.peak_celsius = max(self.peak_celsius, celsius)
            is_over = celsius >= self.body.board.limit_celsius
            self.crossings += is_over and not was_over
            if is_over != was_over:
                self._files.throttles(is_over)  # what the kernel would do
            was_over = is_over
            self._files.tell(celsius)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of some time under full load."""

    seconds: float
    computing_s: float
    tokens: int

    @property
    def share(self) -> float:
        return self.computing_s / self.seconds

    @property
    def tokens_per_computing_s(self) -> float:
        return self.tokens / self.computing_s


def computing_s(supervisor: Supervisor) -> float:
    stats = supervisor.status()[0].stats
    assert stats is not None
    return stats.computing_s


def measure(supervisor: Supervisor, load: Load, seconds: float) -> Measured:
    began_s, used_s, tokens = time.monotonic(), computing_s(supervisor), load.total_tokens
    time.sleep(seconds)
    return Measured(
        seconds=time.monotonic() - began_s,
        computing_s=computing_s(supervisor) - used_s,
        tokens=load.total_tokens - tokens,
    )


@pytest.mark.timeout(110)
def test_an_hour_at_full_load_passes_no_trip_and_loses_little(
    supervise: MakeSupervisor, tmp_path: Path
) -> None:
    board = LARGE
    files = BoardFiles(tmp_path, board)
    placement = Placement(n_ctx_seq=512, n_seq_max=STREAMS, kv_cells=4 * 512, n_threads=1)
    settings = EngineSettings(heartbeat_s=0.02, speculation=False)
    model = ModelSpec(name="m", path=str(STARTER), placement=placement, settings=settings)
    supervisor = supervise(model, runners=_POLICY, command=RUNNER_COMMAND)
    load = Load(supervisor)
    try:
        eventually(lambda: load.total_tokens > 50, within_s=30.0)
        free = measure(supervisor, load, 5.0)
        live = LiveBoard(files, board, supervisor, full_share=free.share)
        coolings: list[Cooling] = []

        def apply(cooling: Cooling) -> None:
            coolings.append(cooling)
            supervisor.cool(order_of(cooling, {}))

        loop = ThermalLoop(
            Root(tmp_path),
            board.policy,
            on_cooling=apply,
            is_busy=lambda: True,
            clock=FastClock(),
        )
        live.start()
        loop.start()
        try:
            paced = measure(supervisor, load, 3600.0 / SPEED)
        finally:
            loop.stop()
            live.stop()
            supervisor.cool(order_of(Cooling(), {}))
    finally:
        load.stop()
    best = best_constant_rate(board)
    activity = paced.share / free.share
    efficiency = paced.tokens_per_computing_s / free.tokens_per_computing_s
    print(
        f"\n60 simulated minutes at full load in {paced.seconds:.0f} s, {paced.tokens} tokens\n"
        f"  hottest {live.peak_celsius:.1f} °C of {board.limit_celsius:.0f}, {live.crossings} trips passed\n"
        f"  computing {activity:.1%} of the full pace, best constant pace by the sweep {best:.1%}: "
        f"{activity / best:.1%} of it\n"
        f"  tokens per computing second beside the full pace: {efficiency:.1%}\n"
        f"  {loop.cooling.changes} changes of the state, {len(coolings)} messages, "
        f"{sum(load.refusals)} refusals, {loop.looks} looks of {loop.cpu_s / loop.looks * 1000:.1f} ms CPU"
    )
    assert live.crossings == 0
    assert activity >= 0.95 * best
    assert loop.cooling.changes <= 6
    assert efficiency >= 0.5  # other work on this machine moves it by a factor; pauses must not


# ── the daemon ─────────────────────────────────────────────────────────────────────────────────────────────


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
