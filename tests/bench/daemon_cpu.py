"""CPU of the daemon's door per streamed token: 50 SSE streams, an engine that steps three times a second.

    nice .venv/bin/python -m tests.bench.daemon_cpu [--streams 50] [--steps-per-s 3] [--seconds 10] [--json]

Three processes: this one drives, one serves (the real app on the real waitress over a fake Inference that
emits one token per stream and step, all at once, through one mailbox per request, as the supervisor does),
one reads (raw sockets, no parsing). Counted are user and system time of all threads of the server between two
moments in full flow.
"""

from __future__ import annotations

import argparse
import json
import queue
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import psutil

from appliance import log
from appliance.api.app import create_app
from appliance.api.server import serve
from appliance.supervisor.inference import Call, Generation, ModelCard
from appliance.wire.messages import Accepted, Delta, Generate, Progress, Result
from tests.fakes.fake_health import report_of

GOAL_MS = 0.15
_WARM_UP_S = 2.0


class _Stream:
    """A generation without end. Fed by the stepping thread."""

    def __init__(self, let_go: Callable[[_Stream], None]) -> None:
        self.accepted = Accepted(id=1, prompt_tokens=10, cached_tokens=0)
        self.mailbox: queue.SimpleQueue[list[Delta | Progress]] = queue.SimpleQueue()
        self._let_go = let_go

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        try:
            return self.mailbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._let_go(self)


class _Stepping:
    """An Inference whose one thread gives every stream a token per step."""

    def __init__(self, steps_per_s: float) -> None:
        self._pause_s = 1 / steps_per_s
        self._streams: list[_Stream] = []
        self.tokens = 0
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def models(self) -> Sequence[ModelCard]:
        return []

    def generate(
        self, model: str, request: Generate, *, owner: str, gone: Callable[[], bool] | None = None
    ) -> Generation:
        stream = _Stream(self._streams.remove)
        self._streams.append(stream)
        return stream

    def call(
        self, model: str, request: Call, *, owner: str, gone: Callable[[], bool] | None = None
    ) -> Result:
        raise NotImplementedError

    def _run(self) -> None:
        due_s = time.monotonic()
        while True:
            due_s += self._pause_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            for number, stream in enumerate(list(self._streams)):
                stream.mailbox.put([Delta(id=number, choice=0, text=" token", tokens=1)])
                self.tokens += 1


def serve_until_eof(steps_per_s: float) -> None:
    """The server process: says its port, then the tokens so far for each line it reads."""
    log.configure(level="error", form="json")
    inference = _Stepping(steps_per_s)
    with serve(
        create_app(inference=inference, report=report_of(inference)), listen=("127.0.0.1", 0)
    ) as server:
        print(server.address[1], flush=True)
        for _ in sys.stdin:
            print(inference.tokens, flush=True)


def read_for_ever(port: int, streams: int) -> None:
    """The client process: reads and throws away."""
    body = json.dumps(
        {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go"}]}
    ).encode()
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
    command = [sys.executable, "-m", "tests.bench.daemon_cpu"]
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
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve is not None:
        serve_until_eof(told.serve)
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
