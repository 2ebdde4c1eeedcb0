"""Where a model was loaded, by llama.cpp's own word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.offload import Offload, gpu_names, is_telling, offload_of
from appliance.engine.loaded_template import NoTemplate
from appliance.engine.loader import open_engine
from appliance.errors import GpuUnavailable
from appliance.wire.messages import Load, Placement
from tests.fakes.tiny_gguf import write_generator
from tests.integration.llama_desk import Desk

pytestmark = pytest.mark.integration

OFFLOADED = "load_tensors: offloaded 29/29 layers to GPU"
ON_CPU = "load_tensors:   CPU_Mapped model buffer size =   243.43 MiB"
ON_GPU = "load_tensors:        CUDA0 model buffer size =  1918.35 MiB"
CUDA = frozenset({"CUDA0"})


def test_a_gpu_with_a_buffer_has_the_layers() -> None:
    assert offload_of([OFFLOADED, ON_CPU, ON_GPU], gpus=CUDA) == Offload(device="CUDA0", n_layers=29)


def test_of_two_gpus_the_fuller_is_named() -> None:
    second = ON_GPU.replace("CUDA0", "CUDA1").replace("1918.35", "2000.00")
    told = offload_of([OFFLOADED, ON_GPU, second], gpus=frozenset({"CUDA0", "CUDA1"}))
    assert told == Offload(device="CUDA1", n_layers=29)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [OFFLOADED, ON_CPU],
        [OFFLOADED, "load_tensors: CUDA_Host model buffer size = 100.00 MiB"],
        [OFFLOADED, "load_tensors: CUDA0 model buffer size = 0.00 MiB"],
        ["load_tensors: offloaded 0/29 layers to GPU", ON_GPU],
        [OFFLOADED, "load_tensors: CUDA0 model buffer size = 1.2.3 MiB"],
    ],
)
def test_a_wish_alone_is_no_offload(lines: list[str]) -> None:
    """llama.cpp prints the wish also where the driver has given no device."""
    assert offload_of(lines, gpus=CUDA) == Offload(device="cpu", n_layers=0)


def test_a_buffer_of_no_listed_gpu_is_none() -> None:
    assert offload_of([OFFLOADED, ON_GPU], gpus=()) == Offload(device="cpu", n_layers=0)


def test_only_the_telling_lines_are_kept() -> None:
    lines = (OFFLOADED, ON_GPU, "llama_kv_cache: size = 1 MiB")
    assert [is_telling(line) for line in lines] == [True, True, False]


def test_a_wish_for_all_layers_is_on_the_cpu_where_there_is_no_gpu(tmp_path: Path) -> None:
    if gpu_names():
        pytest.skip("this machine has a GPU")
    model = LlamaModel(str(write_generator(tmp_path / "tiny.gguf")), name="tiny", n_gpu_layers=-1)
    try:
        assert model.offload == Offload(device="cpu", n_layers=0)
        assert model.n_layers >= 2
    finally:
        model.close()


def test_the_facts_of_a_real_engine_say_where_it_is(tmp_path: Path) -> None:
    if gpu_names():
        pytest.skip("this machine has a GPU")
    with Desk(write_generator(tmp_path / "tiny.gguf")) as desk:
        facts = desk.engine.facts
        assert (facts.device, facts.n_gpu_layers, facts.type_k, facts.type_v) == ("cpu", 0, "f16", "f16")
        assert facts.n_layers >= 2


def test_a_model_that_requires_a_gpu_is_refused_before_it_is_read(tmp_path: Path) -> None:
    if gpu_names():
        pytest.skip("this machine has a GPU")
    load = Load(
        protocol=1,
        model="m",
        path=str(tmp_path / "not there.gguf"),
        placement=Placement(n_ctx_seq=64, n_seq_max=1, kv_cells=64, n_gpu_layers=-1),
        requires_gpu=True,
    )
    render: Any = NoTemplate("m")
    with pytest.raises(GpuUnavailable, match=r"llama\.cpp finds no GPU here"):
        open_engine(load, render=render, on_progress=lambda _: None)
