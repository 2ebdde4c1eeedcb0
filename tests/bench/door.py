"""`python -m tests.bench.door streams | overload`: the daemon's door under load, over a fake runner.

    streams     50 streams at once: every event once and in order, and how late it comes
    overload    ten times what the model can do: how fast the rest is refused, and what still gets through

The door, the supervisor and the runner's process are real; the runner's engine emits one numbered token per
stream and step. Driver and server share the machine's cores, so the figures are upper bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from appliance.supervisor.policy import QueuePolicy
from tests.bench.daemon_cpu import serve_until_eof

_STEPS_PER_S: Final = 20.0
_TOKENS: Final = 10
"""Of an answer of the overload."""
_RUNNING: Final = 16
_WAITING: Final = 16
_TIMES: Final = 10


@dataclass
class Seen:
    """What a client saw."""

    late_s: list[float] = field(default_factory=list)
    """Of each event but the first: its gap to the one before, less the engine's step."""
    wrong: list[str] = field(default_factory=list)
    events: int = 0


@contextmanager
def served(*, steps_per_s: float, running: int, waiting: int) -> Iterator[int]:
    """The port of a server in a process of its own."""
    settings = (steps_per_s, running, waiting)
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.door", "serve", directory, *map(str, settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()  # it ends with it


def request(path: str, body: dict[str, Any] | None = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def chat(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "go"}]
    return request("/v1/chat/completions", {"model": "m", "messages": messages, **fields})


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────


async def stream(port: int, seconds: float, seen: Seen) -> None:
    tokens = int(seconds * _STEPS_PER_S)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(chat(stream=True, max_tokens=tokens))
    expected, before_s, is_done = 0, 0.0, False
    async for line in reader:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            is_done = True
            continue
        for choice in json.loads(line[6:])["choices"]:
            text = choice["delta"].get("content") or ""
            if not text:
                continue
            now_s = time.perf_counter()
            for word in text.split():
                seen.events += 1
                if word != str(expected):
                    seen.wrong.append(f"{word} in the place of {expected}")
                expected = int(word) + 1
            if before_s:
                seen.late_s.append(now_s - before_s - 1 / _STEPS_PER_S)
            before_s = now_s
    if not is_done or expected != tokens:
        seen.wrong.append(f"ended after {expected} of {tokens}")
    writer.close()


async def streams(port: int, count: int, seconds: float) -> dict[str, Any]:
    seen = [Seen() for _ in range(count)]
    await asyncio.gather(*(stream(port, seconds, one) for one in seen))
    late_s = sorted(late for one in seen for late in one.late_s)
    return {
        "streams": count,
        "seconds": seconds,
        "events": sum(one.events for one in seen),
        "lost_doubled_or_out_of_order": sum(len(one.wrong) for one in seen),
        "examples": [wrong for one in seen for wrong in one.wrong][:5],
        "added_gap_p50_ms": _ms(late_s, 0.5),
        "added_gap_p99_ms": _ms(late_s, 0.99),
        "added_gap_most_ms": _ms(late_s, 1.0),
    }


# ── overload ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Answer:
    status: int
    took_s: float
    code: str | None


async def ask(port: int, message: bytes) -> Answer:
    began_s = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message)
        whole = await reader.read()
        writer.close()
    except OSError as error:
        return Answer(0, time.perf_counter() - began_s, type(error).__name__)
    took_s = time.perf_counter() - began_s
    head, _, body = whole.partition(b"\r\n\r\n")
    status = int(head[9:12] or b"0")
    code = json.loads(body).get("error", {}).get("code") if status >= 400 else None
    return Answer(status, took_s, code)


async def capacity_per_s(port: int, seconds: float) -> float:
    """Answers a second when exactly as many ask as the model takes at once."""
    until_s = time.perf_counter() + seconds

    async def client() -> int:
        done = 0
        while time.perf_counter() < until_s:
            done += (await ask(port, chat(max_tokens=_TOKENS))).status == 200
        return done

    return sum(await asyncio.gather(*(client() for _ in range(_RUNNING)))) / seconds


async def overload(port: int, seconds: float) -> dict[str, Any]:
    capacity = await capacity_per_s(port, 6.0)
    tasks: list[asyncio.Task[Answer]] = []
    health: list[asyncio.Task[Answer]] = []
    began_s, next_s, next_health_s = time.perf_counter(), 0.0, 0.0
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        while next_s <= elapsed_s:
            tasks.append(asyncio.create_task(ask(port, chat(max_tokens=_TOKENS))))
            next_s += 1 / (_TIMES * capacity)
        if next_health_s <= elapsed_s:
            health.append(asyncio.create_task(ask(port, request("/healthz"))))
            next_health_s += 0.25
        await asyncio.sleep(0.002)
    in_time = sum(task.done() and task.result().status == 200 for task in tasks)
    answers = await asyncio.gather(*tasks)
    well = await asyncio.gather(*health)
    refused_s = sorted(one.took_s for one in answers if one.status == 503)
    health_s = sorted(one.took_s for one in well)
    return {
        "seconds": seconds,
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(answers) / seconds, 1),
        "goodput_of_capacity": round(in_time / seconds / capacity, 3),
        "answers": dict(Counter(f"{one.status} {one.code or ''}".strip() for one in answers)),
        "refused_p50_ms": _ms(refused_s, 0.5),
        "refused_p99_ms": _ms(refused_s, 0.99),
        "refused_most_ms": _ms(refused_s, 1.0),
        "health_p50_ms": _ms(health_s, 0.5),
        "health_most_ms": _ms(health_s, 1.0),
        "health_not_200": sum(one.status != 200 for one in well),
    }


def _ms(sorted_s: list[float], share: float) -> float | None:
    return round(sorted_s[min(len(sorted_s) - 1, int(share * len(sorted_s)))] * 1000, 1) if sorted_s else None


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["serve"]:
        directory, steps_per_s, running, waiting = words[1:]
        queue = QueuePolicy(max_running=int(running), max_waiting=int(waiting))
        serve_until_eof(float(steps_per_s), Path(directory), queue)
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("load", choices=("streams", "overload"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--streams", type=int, default=50)
    told = parser.parse_args(words)
    if told.load == "streams":
        with served(steps_per_s=_STEPS_PER_S, running=256, waiting=256) as port:
            result = asyncio.run(streams(port, told.streams, told.seconds))
    else:
        with served(steps_per_s=_STEPS_PER_S, running=_RUNNING, waiting=_WAITING) as port:
            result = asyncio.run(overload(port, told.seconds))
    for name, value in result.items():
        print(f"{name:30} {value}")
    return 1 if result.get("lost_doubled_or_out_of_order") else 0


if __name__ == "__main__":
    sys.exit(main())
