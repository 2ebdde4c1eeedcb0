"""Measuring: servers in turn, round by round, in one run.

Workloads that need the same servers share them: each server is started once, warmed up, and idles while
another is measured. Within a round all servers get the same bytes one after the other, and every second round
in reverse order, so that a machine that warms up or slows down does so for all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.bench import engine_alone, prompts
from tests.bench.goals import Row
from tests.bench.load import Ask, BenchError, Load, Report, decode_report, encode
from tests.bench.peers import Peers
from tests.bench.servers import (
    EXAMPLE_SERVER,
    LLAMA_SERVER,
    OUTPOST,
    Outpost,
    Profile,
    Server,
    example_server,
    llama_server,
)
from tests.bench.workloads import ENGINE_GOALS, Reading, Workload

_WARM_UP_ROUND: Final = 1_000_000
_BUSY: Final = "while True: pass"

Readings = dict[str, list[Reading]]
"""Per server label, one per round."""


def measure_http(
    workloads: Sequence[Workload], *, peers: Peers, rounds: int, directory: Path, commands: list[str]
) -> Iterator[Row]:
    """The rows of `workloads`, each when its rounds are done. Raises BenchError at the first failure.

    The command of each server that was started is added to `commands`.
    """
    for profile in dict.fromkeys(workload.profile for workload in workloads):
        group = [workload for workload in workloads if workload.profile == profile]
        with _started(group, peers, profile, directory) as servers:
            commands += [" ".join(running.server.command) for running in servers.values()]
            for workload in group:
                yield from _rows(workload, _measure(workload, servers, rounds))


def measure_engine(*, peers: Peers, rounds: int) -> Iterator[Row]:
    """The rows of the engine alone."""
    for shape in engine_alone.SHAPES:
        ours: list[float] = []
        theirs: list[float] = []
        for round_number in range(rounds):
            if round_number % 2:
                ours.append(engine_alone.measure_ours(shape))
                theirs.append(engine_alone.measure_batched_bench(peers, shape))
            else:
                theirs.append(engine_alone.measure_batched_bench(peers, shape))
                ours.append(engine_alone.measure_ours(shape))
            _tell(f"b) {shape.sequences} sequences", round_number, f"{theirs[-1]:.1f} / {ours[-1]:.1f} tok/s")
        title = f"b) engine alone, {shape.sequences} sequence{'s' * (shape.sequences > 1)}"
        goal = ENGINE_GOALS[shape.sequences]
        yield Row(title=title, goal=goal, ours=ours, peer=theirs, second_peer=[])


class _Running:
    """A started server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._host, self._port = server.start()

    def run(self, asks: list[Ask], *, time_limit_s: float) -> Report:
        """One load, from a process of its own."""
        load = Load(
            host=self._host,
            port=self._port,
            path="/v1/chat/completions",
            asks=asks,
            time_limit_s=time_limit_s,
        )
        command = [sys.executable, "-m", "tests.bench.client"]
        done = subprocess.run(command, input=encode(load), capture_output=True, check=False)
        if done.returncode:
            tail = self.server.log()[-2000:]
            raise BenchError(
                f"{self.server.label}: {done.stderr.decode(errors='replace')}\nits log ends:\n{tail}"
            )
        return decode_report(done.stdout)

    def read(self, workload: Workload, round_number: int) -> Reading:
        asks = workload.asks(round_number)
        daemon = self.server.daemon.process() if isinstance(self.server, Outpost) else None
        before_s = sum(daemon.cpu_times()[:2]) if daemon else 0.0
        report = self.run(asks, time_limit_s=workload.time_limit_s)
        after_s = sum(daemon.cpu_times()[:2]) if daemon else 0.0
        _check_counts(self.server.label, asks, report)
        rss_bytes = self.server.inference_rss_bytes()
        return Reading(report=report, daemon_cpu_s=after_s - before_s, rss_bytes=rss_bytes)


@contextmanager
def _started(
    group: Sequence[Workload], peers: Peers, profile: Profile, directory: Path
) -> Iterator[dict[str, _Running]]:
    wanted = {label for workload in group for label in workload.peers}
    has_guest = any(workload.guest_rounds != 0 for workload in group)
    servers: list[Server] = []
    if LLAMA_SERVER in wanted:
        servers.append(llama_server(peers, directory, profile))
    servers.append(Outpost(directory / f"outpost-{profile.n_seq_max}x{profile.n_ctx_seq}", profile))
    if has_guest:
        servers.append(example_server(peers, directory, profile))
    with ExitStack() as stack:
        running: dict[str, _Running] = {}
        for server in servers:
            stack.callback(server.stop)
            running[server.label] = _Running(server)
            running[server.label].run([Ask(body=prompts.short(_WARM_UP_ROUND, 0))], time_limit_s=120)
        yield running


def _measure(workload: Workload, servers: dict[str, _Running], rounds: int) -> Readings:
    readings: Readings = {label: [] for label in servers}
    for round_number in range(rounds * workload.repeats):
        labels = [label for label in servers if _takes_part(label, workload, round_number)]
        for label in labels if round_number % 2 == 0 else reversed(labels):
            with ExitStack() as others, _neighbour(busy=workload.neighbour):
                for other, running in servers.items():
                    if other != label:
                        others.enter_context(running.server.resting())
                reading = servers[label].read(workload, round_number)
            readings[label].append(reading)
            values = ", ".join(
                f"{metric.goal.label} {metric.read(reading):.3g}" for metric in workload.metrics
            )
            _tell(f"{workload.name}, {label}", round_number, values)
    return readings


def _takes_part(label: str, workload: Workload, round_number: int) -> bool:
    if label == EXAMPLE_SERVER:
        return workload.guest_rounds is None or round_number < workload.guest_rounds
    return label == OUTPOST or label in workload.peers


def _rows(workload: Workload, readings: Readings) -> Iterator[Row]:
    for metric in workload.metrics:
        values = {label: [metric.read(reading) for reading in rounds] for label, rounds in readings.items()}
        compared = not metric.goal.absolute
        yield Row(
            title=workload.name,
            goal=metric.goal,
            ours=values[OUTPOST],
            peer=values.get(LLAMA_SERVER, []) if compared else [],
            second_peer=values.get(EXAMPLE_SERVER, []) if compared else [],
        )


def _check_counts(label: str, asks: list[Ask], report: Report) -> None:
    """A server that was told to ignore the end of text and gives fewer tokens does not do the same work."""
    for ask, answer in zip(asks, report.answers, strict=True):
        wanted = ask.body["max_tokens"]
        fixed = ask.body.get("ignore_eos") and not answer.cut and answer.counted == "usage"
        if fixed and answer.completion_tokens != wanted:
            raise BenchError(
                f"{label} answered {answer.completion_tokens} tokens where {wanted} were to be given"
            )


@contextmanager
def _neighbour(*, busy: bool) -> Iterator[None]:
    """A process of equal priority that computes all the time, free to run on any core."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def _tell(what: str, round_number: int, values: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  round {round_number + 1}  {what}: {values}", flush=True)
