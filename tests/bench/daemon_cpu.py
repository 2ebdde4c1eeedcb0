"""CPU of the daemon per streamed token: 50 SSE streams, an engine that steps three times a second.

    nice .venv/bin/python -m tests.bench.daemon_cpu [--streams 50] [--steps-per-s 3] [--seconds 10] [--json]

Four processes: this one drives, one is the daemon (app, waitress, metrics, supervisor, all real), its runner
is a real runner process around a fake engine that emits one token per stream and step, one reads (raw
sockets, no parsing). Counted are user and system time of all threads of the daemon between two moments in
full flow; the runner's are not.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from appliance import log
from appliance.api.app import create_app
from appliance.api.parts import Metrics, Parts
from appliance.api.server import serve
from appliance.health.report import HealthReport, collect
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.supervisor import Supervisor
from appliance.telemetry.prometheus import Prometheus
from appliance.wire.messages import EngineSettings, Placement
from tests.fakes.fake_engine import write_model

GOAL_MS = 0.15
_WARM_UP_S = 3.0
_RUNNER = (sys.executable, "-I", str(Path(__file__).parents[1] / "fakes" / "fake_runner.py"))


def serve_until_eof(
    steps_per_s: float,
    directory: Path,
    queue: QueuePolicy = QueuePolicy(max_running=256),  # noqa: B008 - frozen
) -> None:
    """The daemon's process: says its port, then the tokens so far for each line it reads."""
    log.configure(level="error", form="json")
    spec = ModelSpec(
        name="m",
        path=str(write_model(directory / "m.gguf", step_s=1 / steps_per_s)),
        placement=Placement(n_ctx_seq=1 << 20, n_seq_max=256, kv_cells=1 << 20),
        settings=EngineSettings(heartbeat_s=0.1),
        preload=True,
    )
    spawner = Spawner()
    supervisor = Supervisor([spec], queue=queue, runners=RunnerPolicy(), spawner=spawner, command=_RUNNER)
    supervisor.start()
    metrics = Prometheus(supervisor)
    app = create_app(
        Parts(
            inference=supervisor,
            report=lambda: _report(supervisor),
            metrics=Metrics(observer=metrics, render_metrics=metrics.render),
        )
    )
    with serve(app, listen=("127.0.0.1", 0)) as server:
        print(server.address[1], flush=True)
        teller = threading.Thread(target=_tell, args=(supervisor, spawner), name="teller")
        teller.start()
        spawner.run()
        spawner.close()
        supervisor.drain(0.0)
    supervisor.close()
    teller.join()


def _tell(supervisor: Supervisor, spawner: Spawner) -> None:
    for _ in sys.stdin:
        stats = supervisor.status()[0].stats
        print(stats.generated_tokens if stats else 0, flush=True)
    spawner.stop()


def _report(supervisor: Supervisor) -> HealthReport:
    return collect(
        version="0", uptime_s=0, is_supervisor_alive=True, is_stopping=False, models=supervisor.status()
    )


def read_for_ever(port: int, streams: int) -> None:
    """The client process: reads and throws away."""
    messages = [{"role": "user", "content": "go"}]
    body = json.dumps({"model": "m", "stream": True, "messages": messages, "max_tokens": 1_000_000}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    selector = selectors.DefaultSelector()
    for _ in range(streams):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(head.encode() + body)
        selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if not key.fileobj.recv(65536):  # type: ignore[union-attr]  # sockets only
                return
        time.sleep(0.01)  # a reader that is awake for every token would be measured with the server


def measure(*, streams: int, steps_per_s: float, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        return _measure(Path(directory), streams=streams, steps_per_s=steps_per_s, seconds=seconds)


def _measure(directory: Path, *, streams: int, steps_per_s: float, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.daemon_cpu", "--directory", str(directory)]
    server = subprocess.Popen(
        [*command, "--serve", str(steps_per_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = int(server.stdout.readline())
    client = subprocess.Popen([*command, "--read", str(port), "--streams", str(streams)])
    try:
        time.sleep(_WARM_UP_S)
        process = psutil.Process(server.pid)
        before = _reading(process, server)
        time.sleep(seconds)
        after = _reading(process, server)
        rss_mib = process.memory_info().rss / 2**20
        threads = process.num_threads()
    finally:
        client.terminate()
        client.wait()
        server.stdin.close()
        server.wait()
    tokens, user_s, system_s = (now - then for now, then in zip(after, before, strict=True))
    return {
        "streams": streams,
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "user_ms_per_token": 1000 * user_s / tokens,
        "system_ms_per_token": 1000 * system_s / tokens,
        "cpu_ms_per_token": 1000 * (user_s + system_s) / tokens,
        "goal_ms_per_token": GOAL_MS,
        "rss_mib": rss_mib,
        "threads": threads,
    }


def _reading(process: psutil.Process, server: subprocess.Popen[str]) -> tuple[float, float, float]:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("\n")
    server.stdin.flush()
    tokens = float(server.stdout.readline())
    times = process.cpu_times()
    return tokens, times.user, times.system


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--steps-per-s", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve is not None:
        serve_until_eof(told.serve, told.directory)
        return 0
    if told.read is not None:
        read_for_ever(told.read, told.streams)
        return 0
    result = measure(streams=told.streams, steps_per_s=told.steps_per_s, seconds=told.seconds)
    if told.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:24} {value:10.3f}")
    return 0 if result["cpu_ms_per_token"] <= GOAL_MS else 1


if __name__ == "__main__":
    sys.exit(main())
