"""A file is mapped only where nothing is copied; else it is read, and no page of it stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gguf
import pytest
from llama_cpp import llama_cpp as bindings

from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import initialise
from appliance.engine.llama.load_mode import cpu_features, is_mapped, load_mode
from appliance.gguf.layouts import may_be_copied
from tests.fakes.damaged_gguf import split_in_two
from tests.fakes.tiny_gguf import Shape, write_generator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
NONE, MMAP = bindings.LLAMA_LOAD_MODE_NONE, bindings.LLAMA_LOAD_MODE_MMAP
WIDE = Shape(n_layer=4, n_embd=1024, n_head=16, n_head_kv=16, n_ff=4096)
"""60 MB of Q8_0."""
RESIDENT = """
import json, sys
from pathlib import Path
from appliance.engine.llama.library import initialise
from appliance.engine.llama.model import LlamaModel
def resident():
    lines = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    of_files = {}
    for line in lines:
        if "-" in line.split(" ")[0]:
            name = line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) > 5 else ""
        elif line.startswith("Rss:"):
            of_files[name] = of_files.get(name, 0) + int(line.split()[1]) * 1024
    return of_files
paths, use_mmap = sys.argv[2:], sys.argv[1] == "True"
initialise()
model = LlamaModel(paths[0], name="m", use_mmap=use_mmap, paths=paths if len(paths) > 1 else ())
print(json.dumps([sum(resident().get(path, 0) for path in paths), model.size_bytes]))
"""


@pytest.fixture(scope="module")
def q8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "q8.gguf"
    return write_generator(path, shape=WIDE, weights=gguf.GGMLQuantizationType.Q8_0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("models") / "plain.gguf", shape=Shape(n_embd=256))


def resident_of(*paths: Path, use_mmap: bool = True) -> tuple[int, int]:
    """Pages of the files that are resident after a load, and the weights' size; in another process."""
    command = [sys.executable, "-c", RESIDENT, str(use_mmap), *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    pages, weights = json.loads(done.stdout.splitlines()[-1])
    return int(pages), int(weights)


def copies_q8() -> bool:
    initialise()
    return may_be_copied("Q8_0", cpu_features(), own_kernels=bool(kernels.name))


def test_what_is_copied_is_not_mapped_whatever_is_asked_for(q8: Path) -> None:
    expected = NONE if copies_q8() else MMAP
    assert load_mode([str(q8)], use_mmap=True, n_gpu_layers=0) == expected
    assert load_mode([str(q8)], use_mmap=False, n_gpu_layers=0) == NONE


def test_what_stays_as_it_is_is_mapped(plain: Path) -> None:
    initialise()
    assert load_mode([str(plain)], use_mmap=True, n_gpu_layers=0) == MMAP
    assert load_mode([str(plain)], use_mmap=False, n_gpu_layers=0) == NONE


def test_with_layers_on_a_device_nothing_is_mapped(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On unified memory it would be there twice."""
    initialise()
    monkeypatch.setattr(bindings, "llama_supports_gpu_offload", lambda: True)
    assert load_mode([str(plain)], use_mmap=True, n_gpu_layers=-1) == NONE
    assert load_mode([str(plain)], use_mmap=True, n_gpu_layers=0) == MMAP


def test_one_part_that_is_copied_is_enough(q8: Path, plain: Path) -> None:
    initialise()
    assert is_mapped([str(plain), str(q8)], n_gpu_layers=0) == (not copies_q8())


def test_a_file_that_is_no_model_is_left_to_the_load(tmp_path: Path) -> None:
    initialise()
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    assert load_mode([str(path)], use_mmap=True, n_gpu_layers=0) == MMAP
    assert load_mode([str(tmp_path / "none")], use_mmap=True, n_gpu_layers=0) == MMAP


def test_no_page_of_a_copied_file_stays(q8: Path, tmp_path: Path) -> None:
    pages, weights = resident_of(q8)
    assert weights > 50_000_000
    assert pages == 0 if copies_q8() else pages >= weights // 2
    parts = split_in_two(q8, tmp_path / "first", tmp_path / "second")
    assert resident_of(*parts) == (0, weights) if copies_q8() else resident_of(*parts)[0] > 0


def test_without_mapping_no_page_stays_of_any_file(plain: Path) -> None:
    assert resident_of(plain)[0] > 0
    assert resident_of(plain, use_mmap=False)[0] == 0
