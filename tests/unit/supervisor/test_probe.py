"""What a probe may take, what its runner is told, and whom a failure blames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import (
    ClientGone,
    EngineFault,
    InsufficientMemory,
    InvalidRequest,
    ModelInvalid,
    OutpostError,
    RunnerDied,
    RunnerHung,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.supervisor.probe_attempt import blame
from appliance.supervisor.probe_request import (
    PROBE_PLACEMENT,
    Limits,
    ProbeRequest,
    context_bytes_of,
    size_of,
    spec_of,
)
from appliance.wire.messages import Placement
from tests.fakes.model_files import generator

MIB = 1024 * 1024
REQUEST = ProbeRequest(model="m", paths=(Path("/store/a"),))
LIMITS = Limits(timeout_s=30.0, memory_bytes=1000, needed_bytes=500)
PLENTY = 10_000
KILLED = "SIGKILL, perhaps by the kernel for want of memory"


def test_the_deadline_is_thirty_seconds_and_one_for_each_hundred_megabytes() -> None:
    assert Limits.of(REQUEST, 0).timeout_s == 30.0
    assert Limits.of(REQUEST, 4_000_000_000).timeout_s == 70.0
    assert Limits.of(replace(REQUEST, timeout_s=5.0), 4_000_000_000).timeout_s == 5.0


def test_memory_is_twice_the_files_and_a_gibibyte_unless_declared() -> None:
    assert Limits.of(REQUEST, 100 * MIB).memory_bytes == 1224 * MIB
    assert Limits.of(replace(REQUEST, memory_limit_bytes=7), 100 * MIB).memory_bytes == 7


def placed(n_ctx_seq: int, n_ubatch: int) -> ProbeRequest:
    placement = Placement(n_ctx_seq=n_ctx_seq, n_seq_max=1, kv_cells=n_ctx_seq, n_ubatch=n_ubatch)
    return replace(REQUEST, paths=(generator(),), placement=placement)


def test_a_model_is_tried_in_the_placement_it_is_to_have() -> None:
    assert spec_of(REQUEST).placement == PROBE_PLACEMENT
    assert spec_of(placed(8, 1)).placement.n_ctx_seq == 8


@pytest.mark.parametrize(
    ("n_ctx_seq", "n_ubatch", "expected"),
    [
        # 2 layers x 2 heads x (16 keys + 16 values) x 2 bytes a token; 8 a token and row, 128 x 64 a row
        (256, 64, 0),
        (4, 1, 0),
        (1024, 64, 1024 * 256 + 64 * (8 * 1024 + 128 * 64)),
        (256, 512, 256 * 256 + 512 * (8 * 256 + 128 * 64)),
        (1 << 24, 64, 2048 * 256 + 64 * (8 * 2048 + 128 * 64)),  # it was made for 2048
    ],
)
def test_a_larger_context_has_room_of_its_own(n_ctx_seq: int, n_ubatch: int, expected: int) -> None:
    request = placed(n_ctx_seq, n_ubatch)
    assert context_bytes_of(request) == expected
    assert context_bytes_of(replace(request, draft=generator())) == 2 * expected
    limits = Limits.of(request, 100 * MIB, context_bytes=expected)
    assert (limits.memory_bytes, limits.context_bytes) == (1224 * MIB, expected)


def test_a_file_that_cannot_be_read_has_no_context(tmp_path: Path) -> None:
    assert context_bytes_of(replace(placed(1024, 512), paths=(tmp_path / "none",))) == 0


def test_the_size_is_that_of_all_files_that_are_there(tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b", 5), ("lora", 7), ("draft", 11)):
        (tmp_path / name).write_bytes(b"x" * size)
    request = ProbeRequest(
        model="m",
        paths=(tmp_path / "a", tmp_path / "b", tmp_path / "none"),
        adapters=(tmp_path / "lora",),
        draft=tmp_path / "draft",
    )
    assert size_of(request) == 26


def test_a_whole_model_has_one_path_and_a_split_one_all_of_them() -> None:
    assert (spec_of(REQUEST).path, spec_of(REQUEST).paths) == ("/store/a", ())
    split = spec_of(replace(REQUEST, paths=(Path("/store/a"), Path("/store/b"))))
    assert (split.path, split.paths) == ("/store/a", ("/store/a", "/store/b"))


def test_the_runner_gets_one_small_slot_and_what_belongs_to_the_model() -> None:
    spec = spec_of(
        replace(REQUEST, adapters=(Path("/l1"), Path("/l2")), draft=Path("/d"), template="{{ 1 }}")
    )
    assert (spec.placement.n_seq_max, spec.placement.n_ctx_seq) == (1, 256)
    assert [(adapter.name, adapter.path) for adapter in spec.adapters] == [
        ("adapter-1", "/l1"),
        ("adapter-2", "/l2"),
    ]
    assert (spec.draft_path, spec.chat_template) == ("/d", "{{ 1 }}")
    assert spec.settings.speculation
    assert not spec_of(REQUEST).settings.speculation
    assert not spec.settings.prefix_reuse


def blamed(error: OutpostError, *, death: str | None = None, available: int | None = PLENTY) -> OutpostError:
    return blame(error, model="m", death=death, limits=LIMITS, available_bytes=available)


@pytest.mark.parametrize("death", ["SIGSEGV", "SIGABRT; last words: assert", "exit code 70", KILLED])
def test_a_death_is_the_models_fault(death: str) -> None:
    error = blamed(RunnerDied(model="m", cause=death), death=death)
    assert isinstance(error, ModelInvalid)
    assert death in error.message


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest(reason="no tokens", param="prompt"),
        EngineFault(reason="no"),
        RunnerHung(model="m", silent_s=9.0),
    ],
)
def test_so_is_whatever_it_cannot_answer(error: OutpostError) -> None:
    assert isinstance(blamed(error), ModelInvalid)


def test_a_kill_on_a_board_with_too_little_memory_is_not() -> None:
    error = blamed(RunnerDied(model="m", cause=KILLED), death=KILLED, available=499)
    assert isinstance(error, InsufficientMemory)
    assert (error.fields["needed_bytes"], error.fields["available_bytes"]) == (500, 499)


def test_a_crash_on_such_a_board_still_is() -> None:
    assert isinstance(
        blamed(RunnerDied(model="m", cause="SIGSEGV"), death="SIGSEGV", available=499), ModelInvalid
    )


def test_where_the_memory_is_unknown_a_kill_is_the_models_fault() -> None:
    assert isinstance(blamed(RunnerDied(model="m", cause=KILLED), death=KILLED, available=None), ModelInvalid)


@pytest.mark.parametrize("death", ["SIGTERM", "SIGINT; last words: so it ends", "SIGHUP"])
def test_an_end_that_came_from_outside_is_nobodys_fault(death: str) -> None:
    error = blamed(RunnerDied(model="m", cause=death), death=death)
    assert isinstance(error, RunnerStartFailed)
    assert death in error.message


@pytest.mark.parametrize(
    "error",
    [
        ShuttingDown(),
        ClientGone(),
        RunnerStartFailed(model="m", reason="sandbox is strict, and this is missing: landlock"),
        ModelInvalid(model="m", reason="as it says itself"),
    ],
)
def test_all_else_stays_what_it_is(error: OutpostError) -> None:
    assert blamed(error) is error
