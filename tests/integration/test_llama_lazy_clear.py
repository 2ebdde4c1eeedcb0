"""A KV cache takes memory by use, not by size; and a cleared buffer is zeros all the same."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.llama.lazy_clear import LazyClear, whole_pages
from appliance.engine.llama.library import initialise, lazy_clear
from tests.fakes.tiny_gguf import Shape, write_generator
from tests.integration.llama_desk import Desk

pytestmark = [pytest.mark.alone, pytest.mark.integration]


@pytest.fixture
def ggml() -> ctypes.CDLL:
    """As loaded and prepared by the engine."""
    initialise()
    return lazy_clear.library


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 24))
def test_whole_pages_lie_inside(base: int, size: int) -> None:
    begin, end = whole_pages(base, size, 4096)
    assert begin % 4096 == 0
    assert base <= begin <= end
    assert end == begin or end <= base + size
    assert size < 2 * 4096 or end - begin > size - 2 * 4096


@pytest.mark.parametrize("size", [64, 4096, 1024 * 1024, 5 * 1024 * 1024 + 192])
def test_a_cleared_buffer_reads_as_its_value_to_the_last_byte(ggml: ctypes.CDLL, size: int) -> None:
    buffer = ggml.ggml_backend_buft_alloc_buffer(ggml.ggml_backend_cpu_buffer_type(), size)
    clear = ggml.ggml_backend_buffer_clear
    clear.restype, clear.argtypes = None, [ctypes.c_void_p, ctypes.c_uint8]
    base = ggml.ggml_backend_buffer_get_base(buffer)
    try:
        for value in (255, 0, 7, 0):
            clear(buffer, value)
            assert ctypes.string_at(base, size) == bytes([value]) * size
    finally:
        ggml.ggml_backend_buffer_free(buffer)


def test_a_large_empty_cache_takes_no_memory(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "wide.gguf", shape=Shape(n_layer=8, n_ctx_train=8192))
    before, cleared = _rss_bytes(), lazy_clear.cleared_bytes
    with Desk(path, n_ctx_seq=8192, n_seq_max=64) as desk:
        assert desk.engine.facts.n_seq_max == 64
        assert lazy_clear.cleared_bytes - cleared > 500 * 1024 * 1024
        assert _rss_bytes() - before < 128 * 1024 * 1024


def test_another_layout_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a later ggml might bring it."""
    initialise()
    other = LazyClear()
    told = other.library.ggml_backend_cpu_buffer_type()
    before = ctypes.string_at(told, 64)
    monkeypatch.setattr(other, "_size", lambda _: 4097)
    assert not other.install()
    assert ctypes.string_at(told, 64) == before


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
