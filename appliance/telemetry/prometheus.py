"""`/metrics`: counters of requests and tokens, gauges of now, in Prometheus's text form 0.0.4. Names:
`outpost_*`.

Counts what the door tells (`api/exchange.Observer`, which this implements; `door_metrics.py`) and asks the
rest at the moment of the question: runner states of the supervisor, the daemon's own process, and whatever
`sources` add.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from appliance.hardware.system import OwnProcess
from appliance.supervisor.inference import Inference
from appliance.telemetry.door_metrics import DoorCounts, Ended
from appliance.telemetry.families import Family, Labels, Sample
from appliance.telemetry.model_labels import MOST_MODELS
from appliance.telemetry.text import sample_lines

__all__ = ["FAMILIES", "RUNNER_STATES", "Ended", "Labels", "Prometheus", "Sample"]

RUNNER_STATES: Final = ("stopped", "starting", "ready", "draining", "stopping", "failed")

_WAITING: Final = Family("requests_waiting", "Requests that wait for a model to take them.")
_STATE: Final = Family("runner_state", "1 for the state the model's runner is in.", labels=("model", "state"))
_UNTOLD: Final = Family("models_untold", f"Models beyond {MOST_MODELS}, whose runners have no series here.")
_CPU: Final = Family("process_cpu_seconds_total", "CPU time of the daemon, without its runners.", "counter")
_RESIDENT: Final = Family("process_resident_memory_bytes", "Memory of the daemon, without its runners.")
_THREADS: Final = Family("process_threads", "Threads of the daemon.")
_FILES: Final = Family("process_open_fds", "Open descriptors.")
_STARTED: Final = Family("process_start_time_seconds", "Unix time at which the daemon started.")
FAMILIES: Final = (_WAITING, _STATE, _UNTOLD, _CPU, _RESIDENT, _THREADS, _FILES, _STARTED)


class Prometheus:
    """Any thread; one lock around all counts."""

    def __init__(
        self, inference: Inference, *, sources: Sequence[Callable[[], Iterable[Sample]]] = ()
    ) -> None:
        self._inference = inference
        self._sources = sources
        self._process = OwnProcess()
        self._lock = threading.Lock()
        self._counts = DoorCounts()
        self._waiting = 0

    # ── what the door tells
    # ────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait of one request for its turn."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def exchange_ended(self, exchange: Ended) -> None:
        with self._lock:
            self._counts.add(exchange)

    # ── what Prometheus asks
    # ───────────────────────────────────────────────────────────────────────────────────────

    def render(self) -> str:
        """The whole page."""
        with self._lock:
            lines = self._counts.lines()
            waiting = self._waiting
        lines += sample_lines([_WAITING.sample(waiting)])
        lines += sample_lines(self._runner_samples())
        lines += sample_lines(self._process_samples())
        for source in self._sources:
            lines += sample_lines(source())
        return "\n".join(lines) + "\n"

    def _runner_samples(self) -> list[Sample]:
        cards = sorted(self._inference.models(), key=lambda card: card.state == "stopped")
        states = [
            _STATE.sample(card.state == state, card.name, state)
            for card in cards[:MOST_MODELS]
            for state in RUNNER_STATES
        ]
        return [*states, _UNTOLD.sample(max(0, len(cards) - MOST_MODELS))]

    def _process_samples(self) -> list[Sample]:
        figures = self._process.figures()
        return [
            _CPU.sample(figures.cpu_s),
            _RESIDENT.sample(figures.resident_bytes),
            _THREADS.sample(figures.threads),
            _FILES.sample(figures.open_files),
            _STARTED.sample(figures.started_s),
        ]
