"""A page of metrics with every metric there is: of a daemon that has served for long, on a board that has all
sensors.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance.access.quota_rules import Bound
from appliance.hardware.pressure import Pressure
from appliance.hardware.report import HardwareReport, sample
from appliance.hardware.storage import Disk, Storage
from appliance.health.cooling import CoolingHealth
from appliance.health.report import BrokenModel, StoreHealth
from appliance.histogram import TOKEN_SECONDS, Histogram
from appliance.supervisor.inference import ModelCard
from appliance.supervisor.states import Eviction, RunnerState
from appliance.supervisor.status import ModelStatus
from appliance.supervisor.turn import Priority, QueueCounts, Turn
from appliance.telemetry.access_metrics import AccessCounts, access_samples
from appliance.telemetry.engine_metrics import engine_samples
from appliance.telemetry.hardware_metrics import hardware_samples
from appliance.telemetry.heat_metrics import heat_samples
from appliance.telemetry.prometheus import Prometheus
from appliance.telemetry.queue_metrics import queue_samples
from appliance.telemetry.store_metrics import store_samples
from appliance.telemetry.stream_metrics import stream_samples
from appliance.thermal.energy import ModelEnergy
from appliance.thermal.values import Cooling, ZoneMargin
from appliance.wire.messages import Accepted, EngineStats, Sandbox, Usage
from tests.fakes.fake_board import FakeBoard, load
from tests.fakes.fake_health import STOPPED
from tests.fakes.fake_inference import FakeInference

ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/api/chat", "/v1/messages", "/metrics")
STORE = StoreHealth(
    models=3, broken=(BrokenModel(name="b", reason="zeroed"),), free_bytes=10**10, floor_bytes=10**9
)
COUNTS = QueueCounts(
    waiting=dict.fromkeys(Priority, 1),
    is_background_held=False,
    expired=dict.fromkeys(Priority, 0),
    displaced=dict.fromkeys(Priority, 0),
)
ACCESS = AccessCounts(
    refused={bound.value: 1 for bound in Bound},
    wrong_keys=2,
    wrong_keys_refused=1,
    pending_rows=0,
    lost=0,
    faults={"full": 1},
    audit_lost=0,
)
COOLING = CoolingHealth.of(
    replace(
        Cooling(),
        zones=(ZoneMargin(name="cpu", temperature_celsius=71.5, limit_celsius=99.0),),
        margin_celsius=27.5,
        input_watts=11.25,
        is_throttled=False,
        is_under_voltage=False,
    ),
    energy=[ModelEnergy(model="m0", joules=48.0, tokens=80, seconds=4.0)],
)


@dataclass
class Ended:
    """An exchange that is over."""

    method: str = "POST"
    route: str | None = ROUTES[0]
    status: int = 200
    error_code: str | None = None
    model: str | None = None
    accepted: Accepted | None = None
    usage: Usage | None = None
    queued_s: float | None = None
    first_token_s: float | None = None
    token_gaps: Histogram | None = None
    total_s: float = 0.02
    turn: Turn = field(default_factory=Turn)


def full_metrics(*, models: int, requests: int = 2, names: str = "m{}") -> Prometheus:
    """`requests`: of each model."""
    statuses = [_status(names.format(number)) for number in range(models)]
    board = _board()
    metrics = Prometheus(
        Inference([status.name for status in statuses]),
        sources=[
            lambda: engine_samples(statuses),
            lambda: queue_samples(COUNTS),
            lambda: store_samples(STORE),
            lambda: access_samples(ACCESS),
            lambda: stream_samples(running=2, over=1, size_bytes=4096),
            lambda: heat_samples(COOLING),
            lambda: hardware_samples(board),
        ],
    )
    for status in statuses:
        for number in range(requests):
            metrics.exchange_ended(_ended(status.name, number))
    metrics.exchange_ended(Ended(status=429, error_code="rate_limit_exceeded"))
    return metrics


def full_page(*, models: int, names: str = "m{}") -> str:
    return full_metrics(models=models, names=names).render()


class Inference(FakeInference):
    """With many models."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names

    def models(self) -> list[ModelCard]:
        (card,) = super().models()
        return [replace(card, name=name) for name in self._names]


def _ended(model: str, number: int) -> Ended:
    gaps = Histogram(TOKEN_SECONDS)
    for step in range(20):
        gaps.observe(0.004 * (1 + step + number % 7))
    turn = Turn(priority=list(Priority)[number % 2])
    turn.waited_s = 0.01 * number
    usage = Usage(prompt_tokens=100, cached_tokens=50 * (number % 2), completion_tokens=20)
    return Ended(
        route=ROUTES[number % len(ROUTES)],
        model=model,
        usage=usage,
        queued_s=0.01,
        first_token_s=0.3 + number % 5,
        token_gaps=gaps,
        total_s=2.0,
        turn=turn,
    )


def _status(name: str) -> ModelStatus:
    return replace(
        STOPPED,
        name=name,
        state=RunnerState.READY,
        starts=1,
        evictions=dict.fromkeys(Eviction, 1),
        sandbox=Sandbox(
            level="full", no_new_privs=True, non_dumpable=True, rlimits=True, landlock_abi=4, seccomp=True
        ),
        load_s=2.5,
        rss_bytes=1 << 30,
        planned_bytes=1 << 30,
        measured_bytes=(1 << 30) - 4096,
        stats=EngineStats(running=2, steps=100, kv_cells=4096, kv_cells_used=512),
    )


def _board() -> HardwareReport:
    """A Jetson with a processor package and an eMMC that a PC and a module have."""
    with tempfile.TemporaryDirectory() as top:
        report = sample(FakeBoard(Path(top), load("orin-nano-8g-r35")).root)
    disk = Disk(
        name="mmcblk0", kind="mmc", model="x", size_bytes=1 << 35, life_used=0.3, end_of_life="normal"
    )
    return replace(
        report,
        power=replace(report.power, energy_joules=5.5),
        memory=replace(
            report.memory,
            pressure=Pressure(some_share=0.1, full_share=0.0, some_total_s=9.0, full_total_s=0.0),
        ),
        storage=Storage(disks=(disk,), data=None),
    )
