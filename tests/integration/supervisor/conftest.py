"""A supervisor with real runner processes around the fake engine, and a thread in the place of the daemon's
main thread.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from appliance.supervisor.placing import Plans
from appliance.supervisor.policy import ModelSpec, QueuePolicy, ResidencyPolicy, RunnerPolicy
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.supervisor import Supervisor
from appliance.wire.messages import EngineSettings, Placement
from tests.fakes.fake_engine import write_model

FAKE_RUNNER = (sys.executable, "-I", str(Path(__file__).parents[2] / "fakes" / "fake_runner.py"))
PLACEMENT = Placement(n_ctx_seq=512, n_seq_max=64, kv_cells=1024)
QUICK = RunnerPolicy(
    heartbeat_timeout_s=1.0,
    load_timeout_s=10.0,
    stop_timeout_s=1.0,
    backoff_s=0.05,
    quarantine_s=60.0,
    sandbox="off",
)

SWIFT = ResidencyPolicy(turn_s=0.2, min_residency_s=0.0, max_swaps_per_min=600)
PATIENT = QueuePolicy(patience_s=10.0)


def spec(path: Path, *, name: str = "m", preload: bool = False) -> ModelSpec:
    settings = EngineSettings(heartbeat_s=0.2)
    return ModelSpec(name=name, path=str(path), placement=PLACEMENT, settings=settings, preload=preload)


class MakeSupervisor(Protocol):
    def __call__(
        self,
        *specs: ModelSpec,
        queue: QueuePolicy = ...,
        runners: RunnerPolicy = ...,
        command: Sequence[str] = ...,
        on_released: Callable[[], None] = ...,
        plans: Plans | None = ...,
        residency: ResidencyPolicy = ...,
    ) -> Supervisor: ...


@pytest.fixture
def supervise() -> Iterator[MakeSupervisor]:
    """Make supervisors; they are drained and their threads and children gone at the end."""
    made: list[tuple[Spawner, threading.Thread, Supervisor]] = []
    children = set(psutil.Process().children(recursive=True))

    def make(
        *specs: ModelSpec,
        queue: QueuePolicy = PATIENT,
        runners: RunnerPolicy = QUICK,
        command: Sequence[str] = FAKE_RUNNER,
        on_released: Callable[[], None] = lambda: None,
        plans: Plans | None = None,
        residency: ResidencyPolicy = SWIFT,
    ) -> Supervisor:
        spawner = Spawner()
        thread = threading.Thread(target=spawner.run, name="stand-in for the main thread")
        thread.start()
        supervisor = Supervisor(
            specs,
            queue=queue,
            runners=runners,
            spawner=spawner,
            command=command,
            on_released=on_released,
            plans=plans,
            residency=residency,
        )
        made.append((spawner, thread, supervisor))
        supervisor.start()
        return supervisor

    yield make
    for spawner, thread, supervisor in made:
        assert supervisor.drain(0.5), "a runner did not end"
        supervisor.close()
        spawner.stop()  # only now: runners die with the thread that made them
        thread.join()
    assert set(psutil.Process().children(recursive=True)) <= children


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model file whose knobs steer the fake engine."""

    def write(**knobs: Any) -> Path:
        return write_model(tmp_path / f"model-{len(list(tmp_path.iterdir()))}.gguf", **knobs)

    return write


def eventually(what: Callable[[], bool], *, within_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline_s, "it did not become true in time"
        time.sleep(0.01)
