"""A load that was refused memory: once more, one rung lower, and then an end."""

from __future__ import annotations

from appliance.errors import InsufficientMemory, ModelInvalid, RunnerStartFailed
from appliance.planner.facts import Ladder
from appliance.supervisor.allocation import RefusedBy
from appliance.supervisor.desk import Desk
from appliance.supervisor.policy import QueuePolicy, RunnerPolicy
from appliance.supervisor.retrying import Retrying
from tests.unit.supervisor.desk_scene import PRELOADED, FakeEffects
from tests.unit.supervisor.residency_scene import GIB, rung

LADDER = Ladder(
    model="m", min_ctx=512, rungs=(rung(4), rung(3, n_ctx_seq=2048), rung(2, n_ctx_seq=1024)), comfortable=4
)
FAULT = ModelInvalid(model="m", reason="unable to allocate CUDA0 buffer")


def scene(free_gib: float = 6.0) -> tuple[Retrying, Desk[str]]:
    desk: Desk[str] = Desk(PRELOADED, queue=QueuePolicy(), runners=RunnerPolicy(), effects=FakeEffects())
    return Retrying(lambda: int(free_gib * GIB)), desk


def test_the_second_try_is_one_rung_lower_and_the_second_refusal_is_the_end() -> None:
    retrying, desk = scene()
    assert retrying.ladder(desk, LADDER) == LADDER
    assert retrying.verdict(desk, LADDER.rungs[0], RefusedBy.NVMAP, FAULT) is None
    second = retrying.ladder(desk, LADDER)
    assert second.rungs == LADDER.rungs[1:]
    error = retrying.verdict(desk, second.rungs[0], RefusedBy.NVMAP, FAULT)
    assert isinstance(error, InsufficientMemory)
    assert error.fields == {
        "model": "m",
        "needed_bytes": 3 * GIB,
        "available_bytes": 6 * GIB,
        "reason": "nvmap_fragmented",
    }
    assert "finds no room in one piece (NvMap error 12)" in error.message


def test_where_the_plan_had_not_enough_either_it_is_exhausted() -> None:
    retrying, desk = scene(free_gib=1.0)
    retrying.ladder(desk, LADDER)
    retrying.verdict(desk, LADDER.rungs[0], RefusedBy.NVMAP, FAULT)
    error = retrying.verdict(desk, LADDER.rungs[1], RefusedBy.NVMAP, FAULT)
    assert error is not None
    assert error.fields["reason"] == "nvmap_exhausted"


def test_the_lowest_rung_has_no_second_try() -> None:
    retrying, desk = scene()
    retrying.ladder(desk, LADDER)
    error = retrying.verdict(desk, LADDER.rungs[2], RefusedBy.CUDA, FAULT)
    assert error is not None
    assert error.fields["reason"] == "gpu_memory_exhausted"


def test_other_faults_stay_what_they_are() -> None:
    retrying, desk = scene()
    retrying.ladder(desk, LADDER)
    fault = RunnerStartFailed(model="m", reason="SIGSEGV")
    assert retrying.verdict(desk, LADDER.rungs[0], None, fault) is fault
    assert retrying.ladder(desk, LADDER) == LADDER


def test_a_new_start_is_a_first_try() -> None:
    retrying, desk = scene()
    retrying.ladder(desk, LADDER)
    retrying.verdict(desk, LADDER.rungs[0], RefusedBy.NVMAP, FAULT)
    retrying.forget(desk)
    assert retrying.ladder(desk, LADDER) == LADDER
    assert retrying.verdict(desk, LADDER.rungs[0], RefusedBy.NVMAP, FAULT) is None


def test_planned_anew_with_nothing_smaller_the_smallest_is_tried() -> None:
    retrying, desk = scene()
    retrying.ladder(desk, LADDER)
    retrying.verdict(desk, LADDER.rungs[1], RefusedBy.NVMAP, FAULT)
    grown = Ladder(model="m", min_ctx=512, rungs=(rung(9), rung(5, n_ctx_seq=1024)))
    assert retrying.ladder(desk, grown).rungs == (grown.rungs[1],)
