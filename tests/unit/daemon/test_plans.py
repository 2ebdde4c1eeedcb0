"""Ladders of this board: formulas for every rung, dry runs for the likely ones, and what loads taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from appliance.daemon import known_headers
from appliance.daemon.plans import BoardPlans, PlanPolicy, whole_bytes
from appliance.errors import FileUnreadable, ModelInvalid, RunnerStartFailed
from appliance.gguf.header import Header, read_header
from appliance.hardware.cgroup import MemoryLimit
from appliance.hardware.memory import Memory
from appliance.planner.choice import Chosen, choose
from appliance.planner.facts import Concession, Footprint, Ladder
from appliance.supervisor.learned_sizes import LearnedSizes
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.sizer import ModelFiles, Sizing, Source
from appliance.wire.messages import Placement
from tests.fakes import tiny_gguf

MIB = 1 << 20
POLICY = PlanPolicy(reserve_bytes=64 * MIB, min_ctx=256, comfortable=2, parallel_share=0.5, own_kernels=True)


def memory(available_mib: int, *, total_mib: int = 1024, limit: MemoryLimit | None = None) -> Memory:
    return Memory(
        total_bytes=total_mib * MIB,
        available_bytes=available_mib * MIB,
        free_bytes=None,
        swap_total_bytes=None,
        swap_free_bytes=None,
        contiguous_free_bytes=None,
        gpu_used_bytes=None,
        limit=limit,
        pressure=None,
        swaps=(),
    )


@dataclass
class FakeSizer:
    """A dry run that finds so many MiB for a slot of a thousand tokens."""

    per_slot_mib: float = 10.0
    asked: list[Placement] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    fault: Exception | None = None
    source: Source = Source.DRY_RUN

    def sizes(self, files: ModelFiles, placements: Sequence[Placement]) -> Sizing:
        self.models.append(files.model)
        self.asked += placements
        if self.fault is not None:
            raise self.fault
        return Sizing(footprints=tuple(map(self._size, placements)), faults={}, source=self.source)

    def _size(self, placement: Placement) -> Footprint:
        cells = placement.n_ctx_seq * placement.n_seq_max
        return Footprint(
            weights_bytes=10 * MIB,
            mapped_bytes=0,
            cache_bytes=int(cells / 1000 * self.per_slot_mib * MIB),
            compute_bytes=0,
            output_bytes=0,
            process_bytes=50 * MIB,
        )


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    path = tmp_path / "tiny.gguf"
    tiny_gguf.write_generator(path)
    return ModelSpec(
        name="tiny", path=str(path), placement=Placement(n_ctx_seq=2000, n_seq_max=4, kv_cells=0)
    )


def plans(sizer: FakeSizer, seen: Memory, learned: LearnedSizes | None = None) -> BoardPlans:
    return BoardPlans(sizer, policy=POLICY, read_memory=lambda: seen, learned=learned)


def taken(ladder: Ladder, budget_mib: int) -> tuple[int, int, int]:
    """Slots, context and MiB of the rung that is chosen."""
    chosen = choose(ladder, budget_bytes=budget_mib * MIB)
    assert isinstance(chosen, Chosen)
    placement = chosen.rung.placement
    return placement.n_seq_max, placement.n_ctx_seq, chosen.rung.footprint.total_bytes // MIB


def test_what_is_likely_to_be_taken_has_the_size_of_the_dry_run(spec: ModelSpec) -> None:
    sizer = FakeSizer()
    ladder = plans(sizer, memory(900)).ladder(spec)
    assert taken(ladder, 836) == (4, 2000, 140)
    assert len(sizer.asked) <= 6
    assert sizer.models.count("tiny") <= 3


def test_what_is_measured_says_so(spec: ModelSpec) -> None:
    ladder = plans(FakeSizer(), memory(900)).ladder(spec)
    assert choose(ladder, budget_bytes=836 * MIB).rung.is_measured


def test_what_would_be_taken_with_further_budgets_is_measured_too(spec: ModelSpec) -> None:
    nothing = FakeSizer(fault=RunnerStartFailed(model="tiny", reason="no process"))
    rough = plans(nothing, memory(900)).ladder(spec)
    rung = rough.rungs[len(rough.rungs) // 2]
    usual, further = FakeSizer(), FakeSizer()
    plans(usual, memory(900)).ladder(spec)
    plans(further, memory(900)).ladder(spec, [rung.footprint.total_bytes])
    assert rung.placement not in usual.asked
    assert rung.placement in further.asked


def test_what_formulas_tell_is_not_called_measured(spec: ModelSpec) -> None:
    sizer = FakeSizer(source=Source.FORMULAS)
    assert not any(rung.is_measured for rung in plans(sizer, memory(900)).ladder(spec).rungs)


def test_a_header_is_read_once_and_anew_when_its_file_is_another(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def noted(path: Path, *, model: str = "") -> Header:
        read.append(path)
        return read_header(path, model=model)

    monkeypatch.setattr(known_headers, "read_header", noted)
    board = plans(FakeSizer(), memory(900))
    first = board.ladder(spec)
    assert board.ladder(spec) == first
    assert len(read) == 1
    tiny_gguf.write_generator(Path(spec.path), seed=2)
    board.ladder(spec)
    assert len(read) == 2


def test_of_many_models_the_headers_of_the_last_are_kept(tmp_path: Path) -> None:
    known = known_headers.KnownHeaders()
    paths = [str(tiny_gguf.write_generator(tmp_path / f"{number}.gguf")) for number in range(10)]
    headers = [known.of([path], model="m") for path in paths]
    assert known.of([paths[9]], model="m") is headers[9]
    assert known.of([paths[2]], model="m") is headers[2]
    assert known.of([paths[0]], model="m") is not headers[0]
    with pytest.raises(FileUnreadable):
        known.of([str(tmp_path / "none.gguf")], model="m")


def test_rungs_that_were_not_measured_are_made_larger_as_formulas_were_found_too_small(
    spec: ModelSpec,
) -> None:
    ladder = plans(FakeSizer(per_slot_mib=40.0), memory(900)).ladder(spec)
    rough = plans(FakeSizer(fault=RunnerStartFailed(model="tiny", reason="no process")), memory(900)).ladder(
        spec
    )
    assert min(rung.footprint.total_bytes for rung in ladder.rungs) > min(
        rung.footprint.total_bytes for rung in rough.rungs
    )


def test_where_nothing_can_be_measured_formulas_answer(spec: ModelSpec) -> None:
    sizer = FakeSizer(fault=RunnerStartFailed(model="tiny", reason="no process"))
    ladder = plans(sizer, memory(900)).ladder(spec)
    slots, context, mib = taken(ladder, 836)
    assert (slots, context) == (4, 2000)
    assert mib > 50


def test_a_file_that_kills_the_sizer_is_the_answer_of_its_load(spec: ModelSpec) -> None:
    fault = ModelInvalid(model="tiny", reason="the sizer died over it")
    with pytest.raises(ModelInvalid, match="died over it"):
        plans(FakeSizer(fault=fault), memory(900)).ladder(spec)


def test_a_file_that_is_no_model_is_refused_before_a_child_is_started(
    tmp_path: Path, spec: ModelSpec
) -> None:
    (tmp_path / "no.gguf").write_bytes(b"not a model")
    sizer = FakeSizer()
    with pytest.raises(ModelInvalid):
        plans(sizer, memory(900)).ladder(replace(spec, path=str(tmp_path / "no.gguf")))
    assert sizer.asked == []


def test_what_a_load_took_more_than_planned_is_added_to_the_next_plan(
    spec: ModelSpec, tmp_path: Path
) -> None:
    learned = LearnedSizes(tmp_path / "learned.json", board="test")
    board = plans(FakeSizer(), memory(900), learned)
    before = board.ladder(spec)
    rung = before.rungs[0]
    board.learn(spec, rung, 90 * MIB)  # planned of it right after the load: 60
    after = plans(FakeSizer(), memory(900), LearnedSizes(tmp_path / "learned.json", board="test")).ladder(
        spec
    )
    assert taken(before, 836) == (4, 2000, 140)
    assert taken(after, 836) == (4, 2000, 210)


def test_a_load_that_took_less_makes_no_plan_smaller(spec: ModelSpec, tmp_path: Path) -> None:
    learned = LearnedSizes(tmp_path / "learned.json", board="test")
    board = plans(FakeSizer(), memory(900), learned)
    board.learn(spec, board.ladder(spec).rungs[0], 5 * MIB)
    assert taken(board.ladder(spec), 836) == (4, 2000, 140)


def test_a_smaller_model_is_the_last_rung_and_is_told(spec: ModelSpec, tmp_path: Path) -> None:
    small = tmp_path / "small.gguf"
    tiny_gguf.write_generator(small, shape=tiny_gguf.Shape(n_layer=1, n_ff=32))
    with_small = replace(spec, smaller=(replace(spec, name="small", path=str(small)),))
    fault = RunnerStartFailed(model="tiny", reason="no process")
    ladder = plans(FakeSizer(fault=fault), memory(900)).ladder(with_small)
    assert ladder.rungs[0].variant is None
    last = ladder.rungs[-1]
    assert last.variant == "small"
    assert last.conceded[-1].what is Concession.VARIANT
    assert (last.conceded[-1].wanted, last.conceded[-1].got) == ("tiny", "small")


@pytest.mark.parametrize(
    ("seen", "budget_mib"),
    [
        (memory(900), 836),
        (memory(32), 0),
        (memory(900, limit=MemoryLimit(limit_bytes=512 * MIB, used_bytes=100 * MIB, cache_bytes=0)), 348),
        (memory(200, limit=MemoryLimit(limit_bytes=512 * MIB, used_bytes=100 * MIB, cache_bytes=0)), 136),
        (replace(memory(900), available_bytes=None), None),
        (replace(memory(900), total_bytes=None), None),
    ],
)
def test_the_budget_is_what_is_available_here_less_the_reserve(seen: Memory, budget_mib: int | None) -> None:
    expected = None if budget_mib is None else budget_mib * MIB
    found = plans(FakeSizer(), seen).budget()
    assert (None if found is None else found.bytes) == expected


def test_the_board_is_as_large_as_our_cgroup_lets_it_be() -> None:
    limit = MemoryLimit(limit_bytes=512 * MIB, used_bytes=None, cache_bytes=None)
    assert whole_bytes(memory(900, limit=limit)) == 512 * MIB
    assert whole_bytes(memory(900)) == 1024 * MIB
