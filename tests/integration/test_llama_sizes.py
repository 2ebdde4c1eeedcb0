"""What models of eleven families take, to the byte: ghosts, measured by llama.cpp and by our formulas.

The tables were written by a dry run of the pinned llama.cpp and checked against what is published and what
was measured with weights: a new pin may change them, and then every line is to be understood anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.engine.context_shape import generator_shape
from appliance.engine.llama.context import LlamaContext
from appliance.engine.llama.dry_run import PINNED, buffers_of, missing
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.load_mode import cpu_features
from appliance.engine.llama.model import LlamaModel
from appliance.engine.sizing import measure
from appliance.gguf.header import read_header
from appliance.gguf.layouts import Layout
from appliance.hardware.features import read_features
from appliance.planner import formulas
from appliance.wire.messages import Placement
from appliance.wire.sizes import ContextSize, Measure, Measured
from tests.fakes.ghost_models import GHOSTS, write_ghost

pytestmark = pytest.mark.integration

PLACEMENTS = (
    Placement(n_ctx_seq=4096, n_seq_max=1, kv_cells=4096),
    Placement(n_ctx_seq=8192, n_seq_max=4, kv_cells=32_768, n_ubatch=256, type_k="q8_0", type_v="q8_0"),
    Placement(n_ctx_seq=2048, n_seq_max=16, kv_cells=32_768, n_ubatch=128),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    weights: tuple[int, int, int]
    """Plain, repacked, interleaved: on a processor with AVX2 and without AMX, with our kernels."""
    contexts: tuple[tuple[int, int], ...]
    """Cache and compute of each placement."""


# fmt: off
GOLDEN = {
    "llama-3.2-1b": Sizes(
        (148_021_248, 695_107_584, 0),
        ((134_217_728, 71_315_616), (570_425_344, 38_097_920), (1_073_741_824, 42_746_368)),
    ),
    "mistral-7b": Sizes(
        (4_983_898_112, 0, 0),
        ((536_870_912, 125_841_568), (2_281_701_376, 60_905_760), (4_294_967_296, 30_936_384)),
    ),
    "qwen2.5-7b": Sizes(
        (307_894_272, 3_977_035_776, 0),
        ((234_881_024, 149_958_816), (998_244_352, 73_488_672), (1_879_048_192, 51_642_880)),
    ),
    "qwen3-4b": Sizes(
        (414_050_304, 0, 4_273_664_000),
        ((603_979_776, 88_092_832), (2_566_914_048, 46_225_696), (4_831_838_208, 50_749_952)),
    ),
    "gemma-3-4b": Sizes(
        (378_959_872, 2_182_348_800, 0),
        ((266_338_304, 88_625_312), (679_608_320, 74_621_952), (3_103_784_960, 86_835_712)),
    ),
    "phi-3-mini": Sizes(
        (62_361_600, 0, 2_326_487_040),
        ((1_610_612_736, 73_412_768), (3_422_552_064, 36_706_592), (12_884_901_888, 17_829_184)),
    ),
    "qwen3-30b-a3b": Sizes(
        (226_205_696, 16_992_092_160, 0),
        ((402_653_184, 96_481_440), (1_711_276_032, 50_420_000), (3_221_225_472, 50_323_968)),
    ),
    "deepseek-v2-lite": Sizes(
        (5_462_472_704, 5_853_487_104, 23_814_144),
        ((127_401_984, 97_525_920), (541_458_432, 50_860_320), (1_019_215_872, 35_127_808)),
    ),
    "lfm2-1.2b": Sizes(
        (110_619_648, 582_746_112, 0),
        ((50_495_488, 67_137_600), (214_564_864, 35_756_096), (405_274_624, 16_518_272)),
    ),
    "mamba-130m": Sizes(
        (260_004_864, 0, 0),
        ((2_801_664, 20_584_512), (11_206_656, 10_765_376), (44_826_624, 7_275_136)),
    ),
    "bge-small": Sizes(
        (66_940_416, 0, 0),
        ((0, 6_035_488), (0, 6_035_488), (0, 6_035_520)),
    ),
}
# fmt: on
KNOWN_PROCESSOR = {"avx2"}


def measured(path: Path, placements: Sequence[Placement], **options: bool) -> list[Measured]:
    told: list[Measured] = []
    measure(Measure(model=path.stem, path=str(path), placements=list(placements), **options), told.append)
    return told


def size_of(one: Measured) -> ContextSize:
    assert one.fault is None
    assert one.model is not None
    return one.model


def sums(size: ContextSize) -> tuple[int, int]:
    return (
        sum(buffer.cache_bytes for buffer in size.buffers),
        sum(buffer.compute_bytes for buffer in size.buffers),
    )


def test_the_inside_of_this_llama_cpp_is_what_we_think_it_is() -> None:
    assert missing() is None


def test_the_pinned_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"llama-cpp-python=={PINNED}"' in project


def test_another_version_has_no_dry_run_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cpp.__version__", "0.4.0")
    assert missing() == f"llama-cpp-python is 0.4.0; its inside is known of {PINNED}"


@pytest.mark.parametrize("name", GHOSTS)
def test_caches_and_compute_buffers_are_as_written(name: str, tmp_path: Path) -> None:
    told = measured(write_ghost(tmp_path, name), PLACEMENTS)
    assert tuple(sums(size_of(one)) for one in told) == GOLDEN[name].contexts


@pytest.mark.parametrize("name", GHOSTS)
def test_weights_are_as_written(name: str, tmp_path: Path) -> None:
    path = write_ghost(tmp_path, name)
    size = size_of(measured(path, PLACEMENTS[:1])[0])
    found = {buffer.type: buffer.weights_bytes for buffer in size.buffers}
    cpu = cpu_features()
    assert cpu == read_features(), "the daemon must know as much of the processor as llama.cpp does"
    by_formulas = formulas.weights_bytes([read_header(path)], cpu, own_kernels=bool(kernels.name))
    assert {kind: count for kind, count in found.items() if count} == by_formulas
    if cpu >= KNOWN_PROCESSOR and "amx_int8" not in cpu and kernels.name:
        assert tuple(found.get(layout, 0) for layout in Layout) == GOLDEN[name].weights


@pytest.mark.parametrize("name", GHOSTS)
def test_formulas_stay_within_their_tolerance(name: str, tmp_path: Path) -> None:
    """Caches to the byte; compute within a tenth."""
    path = write_ghost(tmp_path, name)
    header, cpu, own = read_header(path), cpu_features(), bool(kernels.name)
    for placement, one in zip(PLACEMENTS, measured(path, PLACEMENTS), strict=True):
        size = size_of(one)
        ours = formulas.context_size([header], placement, cpu=cpu, own_kernels=own)
        assert sums(ours)[0] == sums(size)[0]
        assert sums(ours)[1] == pytest.approx(sums(size)[1], rel=formulas.TOLERANCE["compute"])
        assert formulas.differences([header], placement, size, cpu=cpu, own_kernels=own) == []
        assert (ours.n_outputs, ours.n_cells, ours.output_bytes) == (
            size.n_outputs,
            size.n_cells,
            size.output_bytes,
        )
        assert (ours.work_bytes, ours.is_mapped) == (size.work_bytes, size.is_mapped)


def test_a_window_keeps_a_fifth_of_what_full_layers_would(tmp_path: Path) -> None:
    """Gemma 3 4B at 32,768 tokens: 814 MiB; with `swa_full` it were 4,352."""
    path = write_ghost(tmp_path, "gemma-3-4b")
    placement = Placement(n_ctx_seq=32_768, n_seq_max=1, kv_cells=32_768)
    assert sums(size_of(measured(path, [placement])[0]))[0] == 814 * 1024 * 1024


def test_mla_keeps_one_compressed_row_a_token(tmp_path: Path) -> None:
    """DeepSeek V2 Lite: 27 layers x 576 numbers x 2 bytes."""
    path = write_ghost(tmp_path, "deepseek-v2-lite")
    placement = Placement(n_ctx_seq=8192, n_seq_max=1, kv_cells=8192)
    assert sums(size_of(measured(path, [placement])[0]))[0] == 27 * 576 * 2 * 8192


def test_few_outputs_make_the_compute_buffer_small(tmp_path: Path) -> None:
    """Of a large vocabulary: without `n_outputs_max` a pass would hold 512 rows of logits."""
    path = write_ghost(tmp_path, "gemma-3-4b")
    size = size_of(measured(path, PLACEMENTS[:1], speculation=False)[0])
    assert size.n_outputs == 1
    assert sums(size)[1] < 512 * 4 * size.n_vocab // 5


def test_a_placement_that_llama_cpp_refuses_does_not_spoil_the_others(tmp_path: Path) -> None:
    path = write_ghost(tmp_path, "llama-3.2-1b")
    good = Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=512)
    bad = Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=512, type_k="no-type")
    told = measured(path, [bad, good])
    assert [one.model is None for one in told] == [True, False]
    assert told[0].fault


@pytest.mark.parametrize(
    "placement",
    [
        Placement(n_ctx_seq=300, n_seq_max=3, kv_cells=900),
        Placement(n_ctx_seq=2048, n_seq_max=2, kv_cells=0, n_ubatch=64),
    ],
)
def test_a_dry_run_tells_the_sizes_of_the_real_load(tiny_model: Path, placement: Placement) -> None:
    (dry,) = measured(tiny_model, [placement])
    model = LlamaModel(str(tiny_model), name="tiny", use_mmap=False)
    try:
        shape = generator_shape(
            placement, n_ctx_train=model.n_ctx_train, n_slots=placement.n_seq_max, speculates=True
        )
        context = LlamaContext(model, shape, n_threads=1)
        real = buffers_of(context)
        context.close()
    finally:
        model.close()
    assert size_of(dry).buffers == real
    ours = formulas.context_size([read_header(tiny_model)], placement, cpu=cpu_features())
    assert sums(ours)[0] == sums(size_of(dry))[0]
