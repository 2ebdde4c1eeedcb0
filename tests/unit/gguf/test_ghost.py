"""Ghosts are read back by our own reader, and are as long as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.gguf.ghost import GhostTensor, ghost
from appliance.gguf.header import read_header
from appliance.gguf.shape import read_shape, weight_bytes
from tests.fakes.ghost_models import GHOSTS, write_ghost


def test_values_and_tensors_are_read_back(tmp_path: Path) -> None:
    made = ghost(
        {
            "general.architecture": "llama",
            "llama.block_count": 3,
            "llama.eps": 0.5,
            "llama.causal": False,
            "llama.heads": (1, 0, 7),
            "llama.words": ("a", "bc"),
        },
        [GhostTensor("a.weight", (32, 3), "Q8_0"), GhostTensor("b.bias", (5,))],
    )
    path = tmp_path / "ghost.gguf"
    path.write_bytes(made.header)
    with path.open("r+b") as file:
        file.truncate(made.file_bytes)
    header = read_header(path)
    assert header.architecture == "llama"
    assert header.integer("llama.block_count") == 3
    assert header.number("llama.eps") == 0.5
    assert header.truth("llama.causal") is False
    assert list(header.numbers("llama.heads") or ()) == [1, 0, 7]
    assert list(header.strings("llama.words") or ()) == [b"a", b"bc"]
    assert [(one.name, one.shape, one.type.name, one.offset) for one in header.tensors] == [
        ("a.weight", (32, 3), "Q8_0", 0),
        ("b.bias", (5,), "F32", 128),
    ]
    assert header.data_offset == len(made.header)
    assert made.file_bytes == len(made.header) + 128 + 32


@pytest.mark.parametrize("name", GHOSTS)
def test_a_ghost_of_a_model_takes_no_room_and_says_its_size(name: str, tmp_path: Path) -> None:
    path = write_ghost(tmp_path, name)
    header = read_header(path)
    facts = path.stat()
    assert facts.st_blocks * 512 < 200_000
    assert facts.st_size >= header.data_offset + weight_bytes(header)
    assert read_shape(header).n_layer > 0
