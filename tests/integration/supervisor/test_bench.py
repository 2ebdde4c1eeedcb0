"""The bench over real children and real llama.cpp."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest
from gguf import PoolingType

from appliance.errors import (
    ClientGone,
    InvalidRequest,
    MachineBusy,
    ModelInvalid,
    OutpostError,
    RunnerStartFailed,
)
from appliance.supervisor.bench import BenchChild, BenchRequest
from appliance.supervisor.policy import RunnerPolicy
from appliance.wire.calibrate import Kind, NotTaken, Piece, Take, Taken
from appliance.wire.messages import Placement
from tests.fakes import tiny_gguf
from tests.fakes.damaged_gguf import split_in_two

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(90)]

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")
PLACEMENT = Placement(n_ctx_seq=1024, n_seq_max=8, kv_cells=0, n_threads=1)
PREFILL = Piece(kind=Kind.PREFILL, tokens=32)


def take(piece: Piece = PREFILL, *, own_kernels: bool = True, **changes: object) -> Take:
    placement = msgspec.structs.replace(PLACEMENT, **changes)
    return Take(placement=placement, own_kernels=own_kernels, piece=piece)


@pytest.fixture(autouse=True)
def _no_child_is_left_behind() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def request_(tiny_model: Path) -> BenchRequest:
    return BenchRequest(model="tiny", paths=[tiny_model], window=256, width=8, most_models=2)


def bench(request: BenchRequest, **changes: object) -> BenchChild:
    told: dict[str, object] = {"check_wanted": lambda: None, **changes}
    return BenchChild(request, RunnerPolicy(), **told)  # type: ignore[arg-type]


def test_one_child_measures_every_placement(request_: BenchRequest) -> None:
    pieces = (
        Piece(kind=Kind.LOAD),
        PREFILL,
        Piece(kind=Kind.PREFILL, tokens=32, start=32),
        Piece(kind=Kind.DECODE, tokens=3, start=64),
        Piece(kind=Kind.DECODE, tokens=3, start=8),
        Piece(kind=Kind.DECODE, tokens=2, width=8, start=8),
        Piece(kind=Kind.DECODE, tokens=2, width=8, start=4),
    )
    expected = [0, 32, 32, 3, 3, 16, 16]
    before = {process.pid for process in psutil.Process().children()}
    with bench(request_) as child:
        for order in (
            take(),
            take(repack=False),
            take(own_kernels=False),
            take(flash_attention="off", n_ubatch=64),
            take(use_mmap=False, n_threads=2),
        ):
            found = [child.take(msgspec.structs.replace(order, piece=piece)) for piece in pieces]
            taken = [one for one in found if isinstance(one, Taken)]
            assert [one.tokens for one in taken] == expected, found
            assert all(one.seconds > 0 and one.elapsed_s > 0 for one in taken)
            assert {one.window for one in taken} == {256}
            assert {one.n_threads for one in taken} == {order.placement.n_threads}
        assert {process.pid for process in psutil.Process().children()} - before == {child.pid}


def test_weights_that_stay_as_they_are_stay_in_the_file(request_: BenchRequest) -> None:
    with bench(request_) as child:
        plain = child.take(take(repack=False))
        read = child.take(take(repack=False, use_mmap=False))
    assert isinstance(plain, Taken)
    assert isinstance(read, Taken)
    assert (plain.is_mapped, plain.kernels, read.is_mapped) == (True, "", False)


def test_a_piece_ends_when_its_time_is_over(request_: BenchRequest) -> None:
    with bench(request_) as child:
        found = child.take(take(Piece(kind=Kind.DECODE, tokens=100, start=4, most_s=0.0)))
        read = child.take(take(Piece(kind=Kind.PREFILL, tokens=200, most_s=0.0), n_ubatch=64))
    assert isinstance(found, Taken)
    assert isinstance(read, Taken)
    assert (found.tokens, read.tokens) == (1, 64)


@pytest.mark.parametrize(
    "impossible",
    [
        take(Piece(kind=Kind.PREFILL, tokens=8, start=10_000)),
        take(Piece(kind=Kind.DECODE, tokens=8, start=-1)),
        take(Piece(kind=Kind.DECODE, tokens=0)),
        take(type_k="q8_0"),  # heads of 16 are no whole block
    ],
)
def test_what_is_impossible_is_said_and_the_next_is_measured(
    request_: BenchRequest, impossible: Take
) -> None:
    with bench(request_) as child:
        assert isinstance(child.take(take()), Taken)
        assert isinstance(child.take(impossible), NotTaken)
        assert isinstance(child.take(take()), Taken)


def test_the_parts_of_a_split_model_are_one(request_: BenchRequest, tiny_model: Path, tmp_path: Path) -> None:
    parts = split_in_two(tiny_model, tmp_path / "aaa", tmp_path / "bbb")
    with bench(replace(request_, paths=parts)) as child:
        assert isinstance(child.take(take()), Taken)


# ── what cannot be measured ─────────────────────────────────────────────────────────────────────────


def test_a_model_that_generates_no_text_is_refused(request_: BenchRequest, tmp_path: Path) -> None:
    made = tiny_gguf.write_encoder(tmp_path / "encoder", pooling=PoolingType.MEAN)
    with bench(replace(request_, paths=[made])) as child, pytest.raises(InvalidRequest, match="no text"):
        child.take(take())


def test_garbage_behind_a_good_header_is_the_models_fault(
    request_: BenchRequest, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "garbage").write_bytes(tiny_model.read_bytes()[:24] + b"\xff" * 10_000)
    with bench(replace(request_, paths=[tmp_path / "garbage"])) as child, pytest.raises(ModelInvalid):
        child.take(take())


def test_a_child_that_does_not_start_is_told(request_: BenchRequest) -> None:
    broken = (sys.executable, "-c", "raise SystemExit(3)")
    with bench(request_, command=broken) as child, pytest.raises(RunnerStartFailed, match="exit code 3"):
        child.take(take())


def test_a_child_that_dies_later_is_replaced(request_: BenchRequest) -> None:
    with bench(request_) as child:
        assert isinstance(child.take(take()), Taken)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        died = child.take(take())
        assert isinstance(died, NotTaken)
        assert died.reason.startswith("it ended: SIGKILL")
        assert isinstance(child.take(take()), Taken)


# ── others come first ───────────────────────────────────────────────────────────────────────────────


def test_it_stands_still_while_somebody_waits_for_an_answer(request_: BenchRequest) -> None:
    is_busy = threading.Event()
    told: list[str] = []
    with bench(request_, busy=is_busy.is_set) as child:
        child.take(take())
        is_busy.set()
        threading.Timer(0.3, is_busy.clear).start()
        began_s = time.monotonic()
        assert isinstance(child.take(take(), told.append), Taken)
        assert time.monotonic() - began_s >= 1.2, "a second of quiet behind the last answer"
        assert child.waited_s >= 1.2
    assert "waiting" in told


def test_where_requests_never_cease_it_gives_up(request_: BenchRequest) -> None:
    with bench(replace(request_, patience_s=0.3), busy=lambda: True) as child, pytest.raises(MachineBusy):
        child.take(take())


def test_to_cancel_is_to_kill(request_: BenchRequest) -> None:
    calls = [0]

    def check_wanted() -> None:
        calls[0] += 1
        if calls[0] > 2:
            raise ClientGone

    began_s = time.monotonic()
    with pytest.raises(OutpostError), bench(request_, check_wanted=check_wanted, command=SLEEPS) as child:
        child.take(take())
    assert time.monotonic() - began_s < 10
