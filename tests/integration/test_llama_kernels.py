"""Our kernels against llama.cpp's own, on real models of every format they know.

The reference are the very same weights written as 32-bit floats: what both would compute if nothing were
rounded on the way.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType

from appliance.engine.llama.kernels import Kernels, kernels
from appliance.engine.llama.library import initialise
from appliance.wire.messages import Adapter, AdapterScale
from provision.bootstrap.kernels import compile_to, headers_folder, lacking_here
from tests.fakes.tiny_gguf import N_VOCAB, Shape, write_adapter, write_generator
from tests.integration.kernel_digest import digest, logits_of
from tests.integration.llama_desk import Desk

_LACKING = lacking_here()

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(_LACKING is not None, reason=f"no kernels for this processor: {_LACKING}"),
]

FORMATS = (GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0)
ODD = Shape(n_embd=96, n_head=3, n_head_kv=1, n_ff=224)
"""Three blocks a row; 32 rows of keys; rows that fill no whole number of chunks."""


@pytest.fixture(autouse=True)
def _installed() -> None:
    initialise()
    assert kernels.missing is None


def written(
    folder: Path, weights: GGMLQuantizationType, *, shape: Shape = ODD, as_floats: bool = False
) -> Path:
    return write_generator(
        folder / f"{weights.name}-{as_floats}.gguf", shape=shape, weights=weights, as_floats=as_floats
    )


@pytest.mark.parametrize("weights", FORMATS)
def test_they_are_as_exact_as_llama_cpp(tmp_path: Path, weights: GGMLQuantizationType) -> None:
    path = written(tmp_path, weights)
    wanted = logits_of(written(tmp_path, weights, as_floats=True), [40], own=False)
    ours = np.abs(logits_of(path, [40]) - wanted)
    theirs = np.abs(logits_of(path, [40], own=False) - wanted)
    assert ours.mean() <= 1.1 * theirs.mean()
    assert ours.max() <= 2 * theirs.max()
    assert 0 < ours.max() < 0.2 * wanted.std()


@pytest.mark.parametrize("weights", FORMATS)
def test_no_bit_depends_on_the_batch(tmp_path: Path, weights: GGMLQuantizationType) -> None:
    path = written(tmp_path, weights)
    alone = logits_of(path, [1] * 40)
    for batches in ([40], [2, 3, 4, 5, 6, 7, 8, 5], [9, 16, 15], [1, 17, 22]):
        assert (logits_of(path, batches) == alone).all(), batches


@pytest.mark.parametrize("n_threads", [2, 3])
def test_no_bit_depends_on_the_threads(tmp_path: Path, n_threads: int) -> None:
    path = written(tmp_path, GGMLQuantizationType.Q4_1)
    assert (logits_of(path, [24, 1, 15], n_threads=n_threads) == logits_of(path, [24, 1, 15])).all()


@pytest.mark.parametrize("weights", FORMATS)
def test_all_instruction_sets_compute_the_same_bits(tmp_path: Path, weights: GGMLQuantizationType) -> None:
    """Those of an older processor, compiled here, in a process of their own."""
    library = tmp_path / "libggml-outpost.so"
    compile_to(library, headers=headers_folder(), processor="haswell")
    path = written(tmp_path, weights)
    command = [sys.executable, "-m", "tests.integration.kernel_digest", str(library), str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == ["avx2", digest(logits_of(path, [*range(1, 9), 4]))]


def test_rows_that_make_no_group_are_left_to_llama_cpp(tmp_path: Path) -> None:
    """The vocabulary has no multiple of 16 tokens: the last layer stays as it was."""
    assert N_VOCAB % 16
    before = kernels.laid_out_bytes
    path = written(tmp_path, GGMLQuantizationType.Q8_0)
    logits_of(path, [40])
    matrices = ODD.n_layer * (2 * 96 * 96 + 2 * 32 * 96 + 3 * 96 * 224)
    assert kernels.laid_out_bytes - before == matrices * 34 // 32


def test_other_formats_are_left_to_llama_cpp(tmp_path: Path) -> None:
    before = kernels.laid_out_bytes
    with Desk(write_generator(tmp_path / "plain.gguf")) as desk:
        assert desk.engine.facts.kernels == ""
        assert desk.ask("Hello", max_tokens=4).finish_reason == "length"
    assert kernels.laid_out_bytes == before


def test_the_engine_says_which_it_uses_and_can_do_without(tmp_path: Path) -> None:
    path = written(tmp_path, GGMLQuantizationType.Q4_1)
    with Desk(path) as desk:
        assert desk.engine.facts.kernels == kernels.name != ""
    with Desk(path, own_kernels=False) as desk:
        assert desk.engine.facts.kernels == ""
        assert desk.ask("Hello", max_tokens=4).finish_reason == "length"


def test_an_adapter_works_on_weights_laid_out_for_them(tmp_path: Path) -> None:
    path = written(tmp_path, GGMLQuantizationType.Q4_1, shape=Shape())
    adapter = Adapter(name="other", path=str(write_adapter(tmp_path / "adapter.gguf")))
    with Desk(path, adapters=[adapter]) as desk:
        plain = desk.ask("Hello", max_tokens=12)
        changed = desk.ask("Hello", max_tokens=12, adapters=[AdapterScale("other", 1.0)])
    with Desk(path, adapters=[adapter], own_kernels=False) as desk:
        theirs = desk.ask("Hello", max_tokens=12, adapters=[AdapterScale("other", 1.0)])
    assert changed.text != plain.text
    assert changed.text[:4] == theirs.text[:4]


def test_without_the_library_llama_cpp_computes_alone(tmp_path: Path) -> None:
    absent = Kernels(tmp_path / "libggml-outpost.so")
    absent.install()
    absent.enable(wanted=True)
    assert absent.name == ""
    assert absent.missing is not None
    assert "not built for this machine" in absent.missing
    assert absent.laid_out_bytes == 0
