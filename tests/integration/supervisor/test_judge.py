"""The judge over real children and real llama.cpp."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
    ShuttingDown,
)
from appliance.optimizing.judged_text import judged_text
from appliance.supervisor.judge import JudgeChild, JudgeRequest
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.quantizer import Quantizer
from appliance.wire.messages import Placement
from tests.fakes import tiny_gguf
from tests.fakes.damaged_gguf import split_in_two, with_nan_weights

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(60)]

POLICY = RunnerPolicy()
SLEEPS = (sys.executable, "-c", "import time; time.sleep(30)")
PLACEMENT = Placement(n_ctx_seq=1024, n_seq_max=64, kv_cells=0, n_threads=1)


@pytest.fixture(autouse=True)
def _no_child_is_left_behind() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def request_(tiny_model: Path) -> JudgeRequest:
    """The model against itself."""
    return JudgeRequest(
        model="tiny",
        original=[tiny_model],
        candidate=tiny_model,
        placement=PLACEMENT,
        text=judged_text(),
        tokens=200,
        rounds=2,
        max_kl=10.0,
        limit_s=5.0,
    )


def test_a_model_is_no_distance_from_itself_and_its_speed_is_measured(request_: JudgeRequest) -> None:
    told: list[tuple[str, float]] = []
    judged = JudgeChild(POLICY)(request_, lambda name, share: told.append((name, share)))
    found = judged.divergence
    assert found.mean == pytest.approx(0.0, abs=1e-6)
    assert found.same_top == 1.0
    assert found.tokens == 184, "200 and the first, less 16 at the start and the last one"
    assert found.original_perplexity == pytest.approx(found.candidate_perplexity)
    assert judged.original is not None
    assert judged.candidate is not None
    assert set(judged.original.decode_per_s) == {1, 8, 32}
    assert min(judged.candidate.prefill_per_s, *judged.candidate.decode_per_s.values()) > 0
    assert {name for name, _ in told} >= {"quality", "speed"}
    assert all(0.0 <= share <= 1.0 for _, share in told)


def test_what_quantising_loses_is_told(request_: JudgeRequest, tiny_model: Path, tmp_path: Path) -> None:
    losses = []
    for kind in ("q8_0", "q4_0"):
        Quantizer(POLICY)(tiny_model, tmp_path / kind, kind)
        judged = JudgeChild(POLICY)(replace(request_, candidate=tmp_path / kind))
        losses.append(judged.divergence.mean)
        assert math.isfinite(judged.divergence.candidate_perplexity)
        assert judged.divergence.mean <= judged.divergence.p99 <= judged.divergence.greatest
    assert 0.0 < losses[0] < losses[1]


def test_the_speed_of_what_loses_too_much_is_not_measured(request_: JudgeRequest, tmp_path: Path) -> None:
    other = tiny_gguf.write_generator(tmp_path / "other.gguf", seed=7)
    judged = JudgeChild(POLICY)(replace(request_, candidate=other, max_kl=0.01))
    assert judged.divergence.mean > 0.1
    assert (judged.original, judged.candidate) == (None, None)


def test_a_board_with_few_places_is_measured_with_as_many(request_: JudgeRequest) -> None:
    placement = Placement(n_ctx_seq=1024, n_seq_max=4, kv_cells=0, n_threads=1)
    judged = JudgeChild(POLICY)(replace(request_, placement=placement))
    assert judged.original is not None
    assert set(judged.original.decode_per_s) == {1}


def test_the_parts_of_a_split_original_are_one_model(
    request_: JudgeRequest, tiny_model: Path, tmp_path: Path
) -> None:
    parts = split_in_two(tiny_model, tmp_path / "aaa", tmp_path / "bbb")
    judged = JudgeChild(POLICY)(replace(request_, original=parts))
    assert judged.divergence.mean == pytest.approx(0.0, abs=1e-6)


# ── what cannot be judged ───────────────────────────────────────────────────────────────────────────


def test_a_model_that_generates_no_text_is_refused(request_: JudgeRequest, tmp_path: Path) -> None:
    for number, made in enumerate(
        (
            tiny_gguf.write_encoder(tmp_path / "encoder", pooling=PoolingType.MEAN),
            tiny_gguf.write_embedder(tmp_path / "embedder", pooling=PoolingType.LAST),
        )
    ):
        with pytest.raises(InvalidRequest, match="generates no text"):
            JudgeChild(POLICY)(replace(request_, model=f"m{number}", original=[made], candidate=made))


def test_weights_that_are_not_numbers_are_the_candidates_fault(
    request_: JudgeRequest, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelInvalid, match="not finite"):
        JudgeChild(POLICY)(replace(request_, candidate=with_nan_weights(tiny_model, tmp_path / "nan")))


def test_garbage_behind_a_good_header_is_refused(
    request_: JudgeRequest, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "garbage").write_bytes(tiny_model.read_bytes()[:24] + b"\xff" * 10_000)
    with pytest.raises(ModelInvalid):
        JudgeChild(POLICY)(replace(request_, candidate=tmp_path / "garbage"))


def test_another_vocabulary_is_refused(request_: JudgeRequest, tmp_path: Path) -> None:
    other = tiny_gguf.write_generator(tmp_path / "other.gguf", shape=tiny_gguf.Shape(n_embd=64))
    data = other.read_bytes().replace("▁Hello".encode(), "▁Hullo".encode(), 1)
    other.write_bytes(data)
    with pytest.raises(ModelInvalid, match="vocabulary is not the original's"):
        JudgeChild(POLICY)(replace(request_, candidate=other))


def test_a_text_without_words_is_refused(request_: JudgeRequest) -> None:
    with pytest.raises(InvalidRequest, match="too few to judge by"):
        JudgeChild(POLICY)(replace(request_, text="a b"))


# ── how it ends otherwise ───────────────────────────────────────────────────────────────────────────


def fault(command: tuple[str, ...], request: JudgeRequest) -> OutpostError:
    with pytest.raises(OutpostError) as caught:
        JudgeChild(POLICY, command=command)(request)
    return caught.value


def test_a_child_that_dies_of_a_signal_blames_the_model_and_one_that_ends_does_not(
    request_: JudgeRequest,
) -> None:
    died = fault((sys.executable, "-c", "import os; os.abort()"), request_)
    assert isinstance(died, ModelInvalid)
    assert "SIGABRT" in died.message
    assert isinstance(fault((sys.executable, "-c", "import none"), request_), RunnerStartFailed)


def test_a_caller_who_leaves_ends_it_at_once(request_: JudgeRequest) -> None:
    left = threading.Event()
    timer = threading.Timer(0.3, left.set)
    timer.start()
    began_s = time.monotonic()
    with pytest.raises(ClientGone):
        JudgeChild(POLICY, command=SLEEPS)(request_, gone=left.is_set)
    assert time.monotonic() - began_s < 5.0
    timer.join()


def test_closing_ends_it_and_refuses_the_next(request_: JudgeRequest) -> None:
    judge = JudgeChild(POLICY, command=SLEEPS)
    timer = threading.Timer(0.3, judge.close)
    timer.start()
    for _ in range(2):
        with pytest.raises(ShuttingDown):
            judge(request_)
    timer.join()


# ── others use the machine ──────────────────────────────────────────────────────────────────────────


def test_it_stands_still_while_somebody_waits_for_an_answer_and_then_goes_on(request_: JudgeRequest) -> None:
    states: list[str] = []
    asked = 0

    def busy() -> bool:
        """From a moment in the middle of the work, for some looks."""
        nonlocal asked
        asked += 1
        children = psutil.Process().children()
        states.extend(child.status() for child in children)
        return 2 <= asked <= 8

    told: list[str] = []
    judged = JudgeChild(POLICY)(request_, lambda name, _: told.append(name), busy=busy)
    assert psutil.STATUS_STOPPED in states
    assert "waiting" in told
    assert judged.divergence.mean == pytest.approx(0.0, abs=1e-6)


def test_a_machine_that_is_never_quiet_is_not_waited_for_for_ever(request_: JudgeRequest) -> None:
    with pytest.raises(MachineBusy, match="kept this machine busy"):
        JudgeChild(POLICY)(replace(request_, patience_s=0.3), busy=lambda: True)


def test_who_waits_for_a_quiet_machine_can_leave(request_: JudgeRequest) -> None:
    left = threading.Event()
    timer = threading.Timer(0.3, left.set)
    timer.start()
    with pytest.raises(ClientGone):
        JudgeChild(POLICY)(request_, gone=left.is_set, busy=lambda: True)
    timer.join()
