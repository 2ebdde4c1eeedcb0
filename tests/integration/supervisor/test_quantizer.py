"""The quantiser over real children and real llama.cpp."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import psutil
import pytest
from llama_cpp import llama_cpp as bindings

from appliance.engine.llama.quantize import file_type
from appliance.errors import (
    ClientGone,
    InvalidRequest,
    ModelInvalid,
    OutpostError,
    RunnerStartFailed,
    ShuttingDown,
    StoreFault,
)
from appliance.gguf.header import read_header
from appliance.gguf.quantized_size import quantized_bytes
from appliance.runner import landlock
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.probe import Probe, ProbeRequest
from appliance.supervisor.quantizer import Quantizer
from appliance.wire.quantize import KINDS
from tests.fakes import tiny_gguf
from tests.fakes.damaged_gguf import split_in_two, with_nan_weights

pytestmark = [pytest.mark.alone, pytest.mark.integration]

POLICY = RunnerPolicy()
SLEEPS = (sys.executable, "-c", "import time; time.sleep(30)")


@pytest.fixture(autouse=True)
def _no_child_is_left_behind() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def types_of(path: Path) -> set[str]:
    return {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("kind", "expected"), [("q8_0", "Q8_0"), ("Q4_0", "Q4_0"), ("f16", "F16")])
def test_the_result_has_the_type_asked_for_and_passes_the_probe(
    tiny_model: Path, tmp_path: Path, kind: str, expected: str
) -> None:
    told: list[float] = []
    target = tmp_path / "out.gguf"
    size_bytes = Quantizer(POLICY)(tiny_model, target, kind, told.append)
    assert size_bytes == target.stat().st_size < tiny_model.stat().st_size
    assert expected in types_of(target)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert Probe(POLICY)(ProbeRequest(model="m", paths=(target,))).template_error is None


def test_a_descriptor_is_written_without_knowing_its_name(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    with target.open("w+b") as file:
        size_bytes = Quantizer(POLICY)(tiny_model, file.fileno(), "q8_0")
        assert os.fstat(file.fileno()).st_size == size_bytes
    assert "Q8_0" in types_of(target)


def test_a_file_without_a_name_is_written_too(tiny_model: Path, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDWR | os.O_TMPFILE, 0o600)
    try:
        assert Quantizer(POLICY)(tiny_model, descriptor, "q8_0") == os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def test_the_parts_of_a_split_model_become_one_file(tiny_model: Path, tmp_path: Path) -> None:
    parts = split_in_two(tiny_model, tmp_path / "aaa", tmp_path / "bbb")
    target = tmp_path / "out.gguf"
    Quantizer(POLICY)(parts, target, "q8_0")
    reader = gguf.GGUFReader(target)
    assert len(reader.tensors) == len(gguf.GGUFReader(tiny_model).tensors)
    assert Probe(POLICY)(ProbeRequest(model="m", paths=(target,))).facts.generates


def test_what_is_quantised_already_is_refused_unless_it_is_wanted(tiny_model: Path, tmp_path: Path) -> None:
    quantizer, first = Quantizer(POLICY), tmp_path / "q8.gguf"
    quantizer(tiny_model, first, "q8_0")
    with pytest.raises(InvalidRequest, match=r"quantised already .*f16, bf16 or f32"):
        quantizer(first, tmp_path / "q4.gguf", "q4_0", model="m")
    assert quantizer(first, tmp_path / "q4.gguf", "q4_0", allow_requantize=True) > 0


def test_an_unknown_kind_is_refused_with_the_list(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"'q9' is not one of f32, f16, .*q4_K_M"):
        Quantizer(POLICY)(tiny_model, tmp_path / "x", "q9")
    assert not (tmp_path / "x").exists()


def test_the_kinds_are_those_of_llama_cpp() -> None:
    theirs = {
        name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_")
        for name in dir(bindings)
        if name.startswith("LLAMA_FTYPE_")
    }
    assert {kind.upper() for kind in KINDS} == theirs - {"GUESSED", "NVFP4"}, "its quantiser writes no NVFP4"
    assert len({file_type(kind) for kind in KINDS}) == len(KINDS)


def test_weights_that_are_not_numbers_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid):
        Quantizer(POLICY)(with_nan_weights(tiny_model, tmp_path / "nan"), tmp_path / "x", "q8_0")


def test_garbage_behind_a_good_header_is_the_sources_fault(tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "garbage.gguf"
    source.write_bytes(tiny_model.read_bytes()[:24] + b"\xff" * 10_000)
    with pytest.raises(ModelInvalid):
        Quantizer(POLICY)(source, tmp_path / "x", "q8_0")


def test_a_full_disk_is_not_the_sources_fault(tiny_model: Path) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(StoreFault):
        Quantizer(POLICY)(tiny_model, full.fileno(), "q8_0")


# ── how it ends otherwise ───────────────────────────────────────────────────────────────────────────────────


def outcome(command: tuple[str, ...], source: Path, tmp_path: Path) -> OutpostError:
    with pytest.raises(OutpostError) as caught:
        Quantizer(POLICY, command=command)(source, tmp_path / "x", "q8_0")
    return caught.value


def test_a_child_that_dies_of_a_signal_blames_the_source(tiny_model: Path, tmp_path: Path) -> None:
    error = outcome((sys.executable, "-c", "import os; os.abort()"), tiny_model, tmp_path)
    assert isinstance(error, ModelInvalid)
    assert "SIGABRT" in error.message


def test_a_child_that_ends_by_itself_does_not(tiny_model: Path, tmp_path: Path) -> None:
    assert isinstance(outcome((sys.executable, "-c", "import none"), tiny_model, tmp_path), RunnerStartFailed)


def test_a_caller_who_leaves_ends_it_at_once(tiny_model: Path, tmp_path: Path) -> None:
    left = threading.Event()
    timer = threading.Timer(0.3, left.set)
    timer.start()
    began_s = time.monotonic()
    with pytest.raises(ClientGone):
        Quantizer(POLICY, command=SLEEPS)(tiny_model, tmp_path / "x", "q8_0", gone=left.is_set)
    assert time.monotonic() - began_s < 2.0
    timer.join()


def test_closing_ends_it_and_refuses_the_next(tiny_model: Path, tmp_path: Path) -> None:
    quantizer = Quantizer(POLICY, command=SLEEPS)
    timer = threading.Timer(0.3, quantizer.close)
    timer.start()
    for _ in range(2):
        with pytest.raises(ShuttingDown):
            quantizer(tiny_model, tmp_path / "x", "q8_0")
    timer.join()


# ── the box ─────────────────────────────────────────────────────────────────────────────────────────────────

BOXED = """
import sys
from appliance.runner import landlock, sandbox
sandbox.preload()
own, source, other, new = sys.argv[1:]
report = sandbox.enter(
    "auto", model="m", readable=[source, *sandbox.system_paths()],
    output=sandbox.Output(path=own, limit_bytes=1000),
)
def can(path, mode, data=b""):
    try:
        with open(path, mode, buffering=0) as file:
            file.write(data) if data else file.read(1)
        return True
    except OSError:
        return False
print(report.level if landlock.abi() else "full",
      can(own, "wb", b"x"), can(own, "r+b", b"y" * 900), can(source, "rb"),
      can(source, "r+b", b"x"), can(other, "wb", b"x"), can(new, "wb", b"x"), can(own, "wb", b"z" * 2000))
"""


def test_the_box_lets_only_its_own_file_be_written_and_no_further_than_its_bound(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("own", "source", "other", "new")]
    for path in paths[:3]:
        path.write_bytes(b"1")
    done = subprocess.run(
        [sys.executable, "-c", BOXED, *map(str, paths)], capture_output=True, text=True, check=True
    )
    outside = str(not landlock.abi())  # a kernel without Landlock has no such fence
    assert done.stdout.split() == ["full", "True", "True", "True", outside, outside, outside, "True"]
    assert paths[0].stat().st_size <= 1000


def test_a_box_that_must_be_whole_quantises_too(tiny_model: Path, tmp_path: Path) -> None:
    assert Quantizer(replace(POLICY, sandbox="strict"))(tiny_model, tmp_path / "x", "q8_0") > 0


SHAPES = (
    tiny_gguf.Shape(),
    tiny_gguf.Shape(n_embd=256, n_head=8, n_head_kv=8, n_ff=1024),
)
"""Rows that no K block fits, and rows that one does."""


@pytest.mark.parametrize("shape", SHAPES, ids=["64", "256"])
def test_no_result_is_larger_than_what_is_kept_for_it_nor_much_smaller(
    tmp_path: Path, shape: tiny_gguf.Shape
) -> None:
    source = tiny_gguf.write_generator(tmp_path / "f32.gguf", shape=shape)
    half = tmp_path / "f16.gguf"
    Quantizer(POLICY)(source, half, "f16")
    made_kinds, refusals = set[str](), set[bool]()
    for kind in KINDS:
        kept = quantized_bytes([read_header(half)], kind)
        try:
            made = Quantizer(POLICY)(half, tmp_path / "out.gguf", kind)
        except (InvalidRequest, ModelInvalid) as error:
            known = ("importance matrix", "no tensor type fallback")
            refusals.add(any(word in error.message for word in known))
            continue
        made_kinds.add(kind)
        assert made <= kept, kind
        if kind in {"f32", "f16", "bf16", "q8_0"}:
            assert kept < 1.2 * made + 10_000, kind
    assert refusals <= {True}
    assert {"f32", "q8_0", "q4_K_M", "q4_0", "tq1_0", "iq4_nl"} <= made_kinds
    assert Quantizer(POLICY)(source, tmp_path / "out.gguf", "q8_0") <= quantized_bytes(
        [read_header(source)], "q8_0"
    )
