"""`python -m tests.bench.soak`: loads, evictions, pressure, heat and crashes for ten minutes on a simulated
board, with real runners and the starter model. No request may be lost: each is answered whole, or refused
with a typed error.

The board is a Raspberry Pi 5 whose /proc/meminfo follows what the processes really hold, and whose sensor
tells what the script wants. Beside the clients:

    pressure    every 20 s another program takes memory, for 3 s
    heat        every two minutes the sensor rises past the limit, and falls again; admission opens again
                when it has been cool for long enough
    crashes     every 25 s a runner is killed
    operator    every 7 s a model is loaded or put out
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from tests.daemon import STARTER, Daemon
from tests.fakes.fake_board import FakeBoard, load
from tests.fakes.memory_bound import SimulatedBound

MIB: Final = 1 << 20
_LIMIT_BYTES: Final = 900 * MIB
"""The daemon and two models with few slots; the third waits for one of them."""
_OTHERS_BYTES: Final = 350 * MIB
_CLIENTS: Final = 6
_NAMES: Final = ("a", "b", "c")
_CONFIG: Final = """
[engine]
n_ctx_seq = 2048
n_seq_max = 2

[memory]
reserve_bytes = 100663296
comfortable_slots = 2

[lifecycle]
keep_alive = "20s"
min_residency_s = 0.5
turn_s = 2.0
max_swaps_per_min = 120

[runner]
backoff_s = 0.2
"""
_TYPED: Final = frozenset(
    {
        "overloaded",
        "thermal_throttle",
        "model_loading",
        "insufficient_memory",
        "deadline_exceeded",
        "runner_died",
        "runner_start_failed",
        "model_quarantined",
    }
)
"""Refusals that a client can act on; `runner_died` is what a kill in mid-answer is."""


@dataclass
class Soak:
    """Owned by the thread that runs it; the outcomes are counted by all."""

    daemon: Daemon
    board: FakeBoard
    bound: SimulatedBound
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        acts: list[tuple[str, Callable[[], None]]] = [
            *((f"client-{number}", self._client(number)) for number in range(_CLIENTS)),
            ("pressure", self._every(20.0, self._press)),
            ("heat", self._every(min(120.0, self.seconds / 2), self._heat)),
            ("crashes", self._every(25.0, self._kill)),
            ("operator", self._every(7.0, self._operate)),
        ]
        threads = [threading.Thread(target=act, name=name) for name, act in acts]
        for thread in threads:
            thread.start()
        self._over.wait(self.seconds)
        self._over.set()
        for thread in threads:
            thread.join(180.0)

    def _every(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        def loop() -> None:
            while not self._over.wait(seconds):
                act()

        return loop

    def _press(self) -> None:
        self.bound.others_bytes = _OTHERS_BYTES
        self._over.wait(3.0)
        self.bound.others_bytes = 0

    def _heat(self) -> None:
        for celsius in (70.0, 79.0, 81.0, 84.0, 82.0, 76.0, 65.0, 50.0):
            self.board.set_temperature("cpu-thermal", celsius)
            self._over.wait(1.0)
        self.board.set_temperature("cpu-thermal", 50.0)

    def _kill(self) -> None:
        with suppress(psutil.Error, IndexError):
            random.choice(self.daemon.runners()).kill()

    def _operate(self) -> None:
        route = random.choice(("load", "unload"))
        self._count(self._post(f"/outpost/v1/{route}", {"model": random.choice(_NAMES)}))

    def _client(self, number: int) -> Callable[[], None]:
        chance = random.Random(number)

        def loop() -> None:
            while not self._over.is_set():
                outcome = self._ask(chance)
                self._count(outcome)
                self._over.wait(chance.random() * (1.0 if outcome in _TYPED else 0.2))

        return loop

    def _ask(self, chance: random.Random) -> str:
        body: dict[str, Any] = {
            "model": chance.choice(_NAMES),
            "messages": [{"role": "user", "content": "hello " * chance.randrange(1, 200)}],
            "max_tokens": chance.randrange(1, 40),
            "keep_alive": chance.choice([None, 0, 5, "1m", -1]),
        }
        match chance.randrange(3):
            case 0:
                return self._post("/v1/chat/completions", body)
            case 1:
                return self._stream(body, hang_up=False)
            case _:
                return self._stream(body, hang_up=chance.random() < 0.5)

    def _post(self, path: str, body: dict[str, Any]) -> str:
        try:
            answer = httpx.post(self.daemon.url + path, json=body, timeout=180.0, trust_env=False)
        except httpx.HTTPError as error:
            return f"LOST {path}: {error!r}"
        return _outcome(answer.status_code, answer.content)

    def _stream(self, body: dict[str, Any], *, hang_up: bool) -> str:
        try:
            with httpx.stream(
                "POST",
                self.daemon.url + "/v1/chat/completions",
                json={**body, "stream": True},
                timeout=180.0,
                trust_env=False,
            ) as answer:
                if answer.status_code != 200:
                    return _outcome(answer.status_code, answer.read())
                return self._followed(answer.iter_lines(), hang_up=hang_up)
        except httpx.HTTPError as error:
            return f"LOST stream: {error!r}"

    def _followed(self, lines: Iterator[str], *, hang_up: bool) -> str:
        for line in lines:
            if hang_up:
                return "hung up"
            if line == "data: [DONE]":
                return "answered"
            if line.startswith("data: ") and '"error"' in line:
                return _outcome(500, line.removeprefix("data: ").encode())
        return "LOST stream: it ended without its end"

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            if outcome.startswith("LOST"):
                self.lost.append(outcome)


def _outcome(status: int, content: bytes) -> str:
    if status == 200:
        return "answered"
    try:
        code = str(json.loads(content)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return f"LOST status {status}: {content[:200]!r}"
    return code if code in _TYPED else f"LOST untyped {status} {code}"


@contextmanager
def soaking(directory: Path, *, seconds: float) -> Iterator[Soak]:
    board = FakeBoard(directory / "root", load("pi-5"))
    bound = SimulatedBound(limit_bytes=_LIMIT_BYTES, sysroot=directory / "root")
    bound.tell(0)
    models = dict.fromkeys(_NAMES, STARTER)
    try:
        with Daemon(directory / "daemon", models=models, config=_CONFIG, bound=bound) as daemon:
            yield Soak(daemon, board, bound, seconds)
    finally:
        bound.close()


def told(soak: Soak) -> str:
    starts = sum(runner["starts"] for runner in json.loads(soak.daemon.get("/healthz"))["runners"])
    total = sum(soak.outcomes.values())
    outcomes = ", ".join(f"{name} {count}" for name, count in soak.outcomes.most_common())
    return (
        f"{soak.seconds:.0f} s: {total} requests, {len(soak.lost)} lost; {outcomes}; {starts} loads; "
        f"{soak.bound.kills} looks with more memory held than there is"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="outpost-soak-") as folder,
        soaking(Path(folder), seconds=arguments.seconds) as soak,
    ):
        began = time.monotonic()
        soak.run()
        print(told(soak))
        for loss in soak.lost[:20]:
            print("  ", loss)
        print(f"stopped after {time.monotonic() - began:.0f} s")
    return 1 if soak.lost else 0


if __name__ == "__main__":
    sys.exit(main())
