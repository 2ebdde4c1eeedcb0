"""What a supervisor tells of its models, and does where it is not what it should be, with real processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import GpuUnavailable, InsufficientMemory, RunnerHung
from appliance.health import rules
from appliance.health.report import collect
from appliance.planner.budget import Budget
from appliance.planner.facts import Conceded, Concession, Footprint, Ladder, Rung
from appliance.supervisor.device import Device
from appliance.supervisor.inference import Generation
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.states import RunnerState
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker
from appliance.wire.messages import Placement
from tests.fakes.plain_budget import plain_budget
from tests.integration.supervisor.asking import Model, ask, error_of, pid_of, text_of
from tests.integration.supervisor.conftest import PLACEMENT, QUICK, MakeSupervisor, eventually, spec

pytestmark = [pytest.mark.alone, pytest.mark.integration]

GIB = 1 << 30
STALL = replace(QUICK, stall_timeout_s=1.0, heartbeat_timeout_s=20.0)
"""Its heartbeats alone would never end it here."""


def reasons(supervisor: Supervisor) -> rules.Verdict:
    return rules.evaluate(
        collect(
            version="1",
            uptime_s=1.0,
            is_supervisor_alive=True,
            is_stopping=False,
            models=supervisor.status(),
        )
    )


def exhausted(generation: Generation, within_s: float) -> None:
    """Raises what ends it."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        generation.next(0.1)


# ── stuck ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_runner_that_accepts_and_never_answers_is_killed_and_replaced(
    supervise: MakeSupervisor, model: Model
) -> None:
    """It beats all the while. Readiness tells it before, and the next request meets another process."""
    path = model(mute_after=0)
    supervisor = supervise(spec(path), runners=STALL)
    generation = supervisor.generate("m", ask(), asker=Asker(owner="a"))
    stuck = pid_of(supervisor)
    eventually(lambda: any("computed nothing" in one for one in reasons(supervisor).reasons), within_s=5.0)
    began = time.monotonic()
    with pytest.raises(RunnerHung, match="computed nothing for the requests it had taken for") as caught:
        exhausted(generation, 15.0)
    assert caught.value.fields["beats"] is True
    assert time.monotonic() - began < 10.0
    eventually(lambda: supervisor.status()[0].state is RunnerState.FAILED)
    model_again = supervisor.generate("m", ask(), asker=Asker(owner="a"))
    assert pid_of(supervisor) != stuck
    model_again.close()


def test_a_runner_that_stalls_in_mid_answer_is_found_too(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(mute_after=5)), runners=STALL)
    generation = supervisor.generate("m", ask(16), asker=Asker(owner="a"))
    with pytest.raises(RunnerHung):
        exhausted(generation, 15.0)


def test_slow_is_not_stuck(supervise: MakeSupervisor, model: Model) -> None:
    """Eight tokens, each later than half of the time, together four times the time."""
    supervisor = supervise(spec(model(step_s=0.5)), runners=STALL)
    assert text_of(supervisor, 8) == "0 1 2 3 4 5 6 7 "
    assert supervisor.status()[0].crashes == 0


def test_an_idle_runner_that_computes_no_more_is_found_by_its_canary(
    supervise: MakeSupervisor, model: Model
) -> None:
    """Nobody asks: the canary alone finds it. A model to be preloaded is there again by itself."""
    policy = replace(STALL, canary_interval_s=0.5)
    supervisor = supervise(spec(model(mute_after=0), preload=True), runners=policy)
    eventually(lambda: supervisor.status()[0].state is RunnerState.READY, within_s=20.0)
    first = pid_of(supervisor)
    eventually(lambda: supervisor.status()[0].crashes >= 1, within_s=20.0)
    assert "computed nothing" in (supervisor.status()[0].reason or "")
    assert not reasons(supervisor).is_ready
    eventually(lambda: supervisor.status()[0].runner_pid not in (None, first), within_s=20.0)


def test_a_canary_keeps_no_model_in_memory(supervise: MakeSupervisor, model: Model) -> None:
    """It is asked many times within the time after which the model leaves, and takes no lease."""
    policy = replace(STALL, canary_interval_s=0.1)
    supervisor = supervise(replace(spec(model()), keep_alive_s=2.0), runners=policy)
    assert text_of(supervisor, 4) == "0 1 2 3 "
    eventually(lambda: 0 < (supervisor.status()[0].expires_in_s or 0) <= 2.0)

    def generated() -> int:
        stats = supervisor.status()[0].stats
        return stats.generated_tokens if stats is not None else 0

    eventually(lambda: generated() > 4, within_s=10.0)
    assert supervisor.status()[0].running == 0
    eventually(lambda: supervisor.status()[0].runner_pid is None, within_s=10.0)
    assert supervisor.status()[0].crashes == 0


# ── on a GPU or not ─────────────────────────────────────────────────────────────────────────────────────────


def on(device: Device, path: Path) -> ModelSpec:
    return replace(spec(path), device=device)


def test_a_model_that_requires_a_gpu_is_not_served_on_the_cpu(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(on(Device.REQUIRE_GPU, model()))
    error = error_of(supervisor)
    assert isinstance(error, GpuUnavailable)
    assert error.fields == {"model": "m", "reason": "it was loaded on the CPU"}
    status = supervisor.status()[0]
    assert (status.state, status.crashes, status.runner_pid) == (RunnerState.FAILED, 0, None)
    assert "must run on a GPU" in (status.reason or "")


def test_on_a_gpu_it_is(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(on(Device.REQUIRE_GPU, model(device="CUDA0")))
    assert text_of(supervisor, 2) == "0 1 "
    facts = supervisor.status()[0].facts
    assert facts is not None
    assert (facts.device, facts.n_gpu_layers) == ("CUDA0", 29)


def test_the_cpu_of_a_board_with_a_gpu_is_an_alarm_and_serves(
    supervise: MakeSupervisor, model: Model
) -> None:
    policy = replace(QUICK, gpu="the GPU of Jetson Orin Nano 8 GB")
    supervisor = supervise(on(Device.PREFER_GPU, model()), runners=policy)
    assert text_of(supervisor, 2) == "0 1 "
    assert "runs on the CPU, not on the GPU of" in (supervisor.status()[0].alarm or "")
    verdict = reasons(supervisor)
    assert verdict.is_ready
    [told] = verdict.degraded
    assert told.startswith("m runs on the CPU")
    assert supervisor.find("m").alarm is not None


# ── slower than usual ───────────────────────────────────────────────────────────────────────────────────────


def test_a_model_at_a_fraction_of_its_speed_is_degraded_and_recovers(
    supervise: MakeSupervisor, tmp_path: Path, model: Model
) -> None:
    """The fake's steps take as long as a file says; the machine of the test may be slow, but not tenfold."""
    pace = tmp_path / "pace"
    pace.write_text("0.01")
    supervisor = supervise(spec(model(step_file=str(pace))))
    for _ in range(6):
        text_of(supervisor, 12)
    assert supervisor.status()[0].degraded is None
    pace.write_text("0.2")
    for _ in range(3):
        text_of(supervisor, 12)
    assert "of its usual" in (supervisor.status()[0].degraded or "")
    verdict = reasons(supervisor)
    assert verdict.is_ready
    assert len(verdict.degraded) == 1
    pace.write_text("0.01")
    for _ in range(4):
        text_of(supervisor, 12)
    assert supervisor.status()[0].degraded is None


# ── NvMap error 12 ──────────────────────────────────────────────────────────────────────────────────────────


def rung(gib: int, n_ctx_seq: int) -> Rung:
    size = Footprint(
        weights_bytes=gib * GIB,
        mapped_bytes=0,
        cache_bytes=0,
        compute_bytes=0,
        output_bytes=0,
        process_bytes=0,
    )
    less = Conceded(what=Concession.CONTEXT, wanted="4096", got=str(n_ctx_seq), price=0.9)
    placement = Placement(n_ctx_seq=n_ctx_seq, n_seq_max=PLACEMENT.n_seq_max, kv_cells=PLACEMENT.kv_cells)
    return Rung(placement=placement, footprint=size, conceded=() if n_ctx_seq == 4096 else (less,))


class FakePlans:
    """A board with 8 GiB for plans, whose memory is never less."""

    def __init__(self) -> None:
        self.reclaims = 0

    def ladder(self, spec: ModelSpec, budgets: Sequence[int] = ()) -> Ladder:
        rungs = (rung(4, 4096), rung(3, 3072), rung(2, 2048))
        return Ladder(model=spec.name, min_ctx=512, rungs=rungs, comfortable=PLACEMENT.n_seq_max)

    def budget(self) -> Budget:
        return plain_budget(8 * GIB)

    def reclaim(self) -> None:
        self.reclaims += 1

    def learn(self, spec: ModelSpec, rung: Rung, measured_bytes: int) -> None: ...


def test_error_12_is_one_reclaim_and_one_try_a_rung_lower_then_a_typed_refusal(
    supervise: MakeSupervisor, tmp_path: Path, model: Model
) -> None:
    loads, plans = tmp_path / "loads", FakePlans()
    supervisor = supervise(spec(model(nvmap_above_ctx=0, loads=str(loads))), plans=plans)
    error = error_of(supervisor)
    assert isinstance(error, InsufficientMemory)
    assert error.fields == {
        "model": "m",
        "needed_bytes": 3 * GIB,
        "available_bytes": 8 * GIB,
        "reason": "nvmap_fragmented",
    }
    assert loads.read_text().split() == ["4096", "3072"]
    assert plans.reclaims == 1
    assert supervisor.status()[0].crashes == 0


def test_the_lower_rung_that_loads_is_served_and_shown(
    supervise: MakeSupervisor, tmp_path: Path, model: Model
) -> None:
    loads, plans = tmp_path / "loads", FakePlans()
    supervisor = supervise(spec(model(nvmap_above_ctx=3072, loads=str(loads))), plans=plans)
    assert text_of(supervisor, 2) == "0 1 "
    status = supervisor.status()[0]
    assert loads.read_text().split() == ["4096", "3072"]
    assert plans.reclaims == 1
    assert [(one.what, one.wanted, one.got) for one in status.conceded] == [("context", "4096", "3072")]
    assert (status.planned_bytes, status.crashes) == (3 * GIB, 0)
    assert status.measured_bytes is not None
    assert supervisor.find("m").conceded == status.conceded
