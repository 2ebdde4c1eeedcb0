"""The sizer over real children and real llama.cpp."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance.errors import ModelInvalid, RunnerHung, RunnerStartFailed, ShuttingDown
from appliance.runner import landlock
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.size_cache import SizeCache
from appliance.supervisor.sizer import ModelFiles, Sizer, Source
from appliance.wire.messages import Placement
from tests.fakes.damaged_gguf import split_in_two
from tests.fakes.ghost_models import write_ghost
from tests.fakes.tiny_gguf import Shape, write_adapter, write_generator

pytestmark = [pytest.mark.alone, pytest.mark.integration]

POLICY = RunnerPolicy()
SMALL = Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=512)
LARGE = Placement(n_ctx_seq=512, n_seq_max=4, kv_cells=2048)
SLEEPS = (sys.executable, "-c", "import time; time.sleep(30)")
HEAD = (
    "import os, socket, sys; from appliance.wire.sizer import *; from appliance.wire.sizes import *; "
    "channel = sizer_end(socket.socket(fileno=int(sys.argv[sys.argv.index('--fd') + 1]))); "
    "channel.receive(); "
)
"""A child that says what it wants: in a process of its own, with our wire."""


@pytest.fixture(autouse=True)
def _no_child_is_left_behind() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def child(body: str) -> tuple[str, ...]:
    root = str(Path(__file__).parents[3])
    return (sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {HEAD}{body}")


def test_many_placements_are_measured_by_one_child(tiny_model: Path) -> None:
    sizing = Sizer(POLICY).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL, LARGE, SMALL])
    first, second, third = sizing.footprints
    assert first is not None and second is not None
    assert sizing.source is Source.DRY_RUN
    assert sizing.differences == ()
    assert first == third
    assert second.cache_bytes == 4 * first.cache_bytes == 4 * 512 * 2 * 2 * 2 * 16 * 2
    assert second.weights_bytes == first.weights_bytes


def test_the_second_question_has_no_child_and_is_answered_at_once(tiny_model: Path, tmp_path: Path) -> None:
    cache, files = SizeCache(tmp_path / "sizes"), ModelFiles(model="m", paths=(tiny_model,))
    told = Sizer(POLICY, cache).sizes(files, [SMALL, LARGE])
    began_s = time.monotonic()
    again = Sizer(POLICY, cache, command=("/nonexistent",)).sizes(files, [LARGE, SMALL])
    assert time.monotonic() - began_s < 0.2
    assert again.footprints == tuple(reversed(told.footprints))


def test_a_file_that_changed_is_measured_anew(tmp_path: Path) -> None:
    path, cache = tmp_path / "m.gguf", SizeCache(tmp_path / "sizes")
    write_generator(path)
    (before,) = Sizer(POLICY, cache).sizes(ModelFiles(model="m", paths=(path,)), [SMALL]).footprints
    write_generator(path, shape=Shape(n_layer=4))
    (after,) = Sizer(POLICY, cache).sizes(ModelFiles(model="m", paths=(path,)), [SMALL]).footprints
    assert before is not None and after is not None
    assert after.cache_bytes == 2 * before.cache_bytes


def test_content_that_is_named_by_a_digest_may_move(tmp_path: Path) -> None:
    cache, old, new = SizeCache(tmp_path / "sizes"), tmp_path / "a.gguf", tmp_path / "b.gguf"
    write_generator(old)
    files = ModelFiles(model="m", paths=(old,), identity="sha256:1")
    told = Sizer(POLICY, cache).sizes(files, [SMALL])
    old.rename(new)
    moved = ModelFiles(model="m", paths=(new,), identity="sha256:1")
    assert Sizer(POLICY, cache, command=("/nonexistent",)).sizes(moved, [SMALL]) == told


def test_another_build_measures_anew(tiny_model: Path, tmp_path: Path) -> None:
    cache, files = SizeCache(tmp_path / "sizes"), ModelFiles(model="m", paths=(tiny_model,))
    Sizer(POLICY, cache, build="old").sizes(files, [SMALL])
    with pytest.raises(RunnerStartFailed):
        Sizer(POLICY, cache, build="new", command=("/nonexistent",)).sizes(files, [SMALL])


def test_the_parts_of_a_split_model_are_sized_as_the_whole(tiny_model: Path, tmp_path: Path) -> None:
    parts = split_in_two(tiny_model, tmp_path / "aaa", tmp_path / "bbb")
    whole = Sizer(POLICY).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL]).footprints[0]
    split = Sizer(POLICY).sizes(ModelFiles(model="m", paths=tuple(parts)), [SMALL]).footprints[0]
    assert whole is not None and split is not None
    assert split.weights_bytes == whole.weights_bytes
    assert split.cache_bytes == whole.cache_bytes


def test_a_draft_model_and_adapters_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    draft = write_generator(tmp_path / "draft.gguf", seed=2)
    adapter = write_adapter(tmp_path / "adapter.gguf")
    alone = Sizer(POLICY).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL]).footprints[0]
    files = ModelFiles(model="m", paths=(tiny_model,), draft=draft, adapters=(adapter,))
    beside = Sizer(POLICY).sizes(files, [SMALL]).footprints[0]
    assert alone is not None and beside is not None
    assert beside.weights_bytes == 2 * alone.weights_bytes + adapter.stat().st_size
    assert beside.cache_bytes == 2 * alone.cache_bytes


def test_a_model_larger_than_the_machine_is_sized(tmp_path: Path) -> None:
    """A header is enough: 17 GB of weights are never read."""
    path = write_ghost(tmp_path, "qwen3-30b-a3b")
    (found,) = Sizer(POLICY).sizes(ModelFiles(model="m", paths=(path,)), [SMALL]).footprints
    assert found is not None
    assert found.weights_bytes > 17_000_000_000


def test_a_placement_that_is_refused_says_why(tiny_model: Path) -> None:
    bad = Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=512, type_k="q8_0", type_v="q8_0")
    sizing = Sizer(POLICY).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL, bad])
    assert sizing.footprints[0] is not None
    assert sizing.footprints[1] is None
    assert "block size 32 does not divide" in sizing.faults[1]


# ── hostile files, and children that fail ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"not a model at all, but long enough", b"GGUF" + b"\xff" * 1000]
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid):
        Sizer(POLICY).sizes(ModelFiles(model="m", paths=(path,)), [SMALL])


@pytest.mark.parametrize("position", [0.03, 0.1, 0.3])
def test_a_damaged_header_is_refused_or_measured_and_ends_nobody_else(
    tiny_model: Path, tmp_path: Path, position: float
) -> None:
    whole = bytearray(tiny_model.read_bytes())
    whole[int(position * 20_000)] ^= 0x40
    path = tmp_path / "m.gguf"
    path.write_bytes(whole)
    try:
        sizing = Sizer(POLICY).sizes(ModelFiles(model="m", paths=(path,)), [SMALL])
    except ModelInvalid:
        return
    assert sizing.footprints[0] is not None


def test_a_child_that_dies_over_the_file_blames_the_file(tiny_model: Path) -> None:
    dies = child("channel.send(DryRunChecked()); os.abort()")
    with pytest.raises(ModelInvalid, match="the sizer died over it: SIGABRT"):
        Sizer(POLICY, command=dies).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL])


def test_a_child_that_dies_before_it_leaves_the_answer_to_formulas(tiny_model: Path) -> None:
    """Another llama.cpp, laid out otherwise, crashes while a model of our own is measured."""
    files = ModelFiles(model="m", paths=(tiny_model,))
    sizing = Sizer(POLICY, command=child("os.abort()")).sizes(files, [SMALL, LARGE])
    exact = Sizer(POLICY).sizes(files, [SMALL, LARGE])
    assert sizing.source is Source.FORMULAS
    assert sizing.reason is not None and "SIGABRT" in sizing.reason
    for ours, theirs in zip(sizing.footprints, exact.footprints, strict=True):
        assert ours is not None and theirs is not None
        assert (ours.weights_bytes, ours.cache_bytes) == (theirs.weights_bytes, theirs.cache_bytes)
        assert ours.total_bytes == pytest.approx(theirs.total_bytes, rel=0.1)


def test_an_unknown_llama_cpp_leaves_the_answer_to_formulas_and_keeps_nothing(
    tiny_model: Path, tmp_path: Path
) -> None:
    says = child("channel.send(DryRunUnavailable(reason='unknown'))")
    cache = SizeCache(tmp_path / "sizes")
    sizing = Sizer(POLICY, cache, command=says).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL])
    assert (sizing.source, sizing.reason) == (Source.FORMULAS, "unknown")
    assert not (tmp_path / "sizes").exists()


@pytest.mark.parametrize(
    "body",
    [
        "channel.send(DryRunChecked()); channel.send(Sized())",
        "channel.send(DryRunChecked()); channel.send(Measured(index=7))",
        "os.write(int(sys.argv[sys.argv.index('--fd') + 1]), b'garbage, not a frame')",
        "sys.exit(3)",
    ],
)
def test_a_child_that_talks_nonsense_is_not_believed(tiny_model: Path, body: str) -> None:
    with pytest.raises((RunnerStartFailed, ModelInvalid)):
        Sizer(POLICY, command=child(body)).sizes(ModelFiles(model="m", paths=(tiny_model,)), [SMALL])


def test_a_child_that_says_nothing_is_killed_at_the_deadline(tiny_model: Path) -> None:
    with pytest.raises(RunnerHung):
        Sizer(POLICY, command=SLEEPS, timeout_s=0.2).sizes(
            ModelFiles(model="m", paths=(tiny_model,)), [SMALL]
        )


def test_closing_ends_what_runs_and_refuses_what_comes(tiny_model: Path) -> None:
    sizer = Sizer(POLICY, command=SLEEPS)
    files = ModelFiles(model="m", paths=(tiny_model,))
    timer = threading.Timer(0.3, sizer.close)
    timer.start()
    with pytest.raises(ShuttingDown):
        sizer.sizes(files, [SMALL])
    timer.join()
    with pytest.raises(ShuttingDown):
        sizer.sizes(files, [SMALL])


@pytest.mark.skipif(landlock.abi() == 0, reason="the kernel has no Landlock")
def test_the_child_measures_inside_its_whole_box(tiny_model: Path) -> None:
    files = ModelFiles(model="m", paths=(tiny_model,))
    sizing = Sizer(RunnerPolicy(sandbox="strict")).sizes(files, [SMALL])
    assert sizing.source is Source.DRY_RUN
