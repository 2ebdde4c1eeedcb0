"""Every type of the KV cache that the configuration offers is one that llama.cpp computes with."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from appliance.config.values import CacheType
from appliance.engine.llama.library import KV_TYPES, kv_type_bytes
from tests.fakes.tiny_gguf import Shape, write_generator
from tests.integration.llama_desk import Desk

pytestmark = pytest.mark.integration

NAMES = get_args(CacheType)
WHOLE_BLOCKS = Shape(n_embd=128)
"""Heads of 32 values: a block of the quantised types."""


def test_the_configuration_and_the_engine_know_the_same_types() -> None:
    assert set(NAMES) == set(KV_TYPES)
    assert all(0 < kv_type_bytes(name) <= 4 for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_answers_with_keys_and_values_of_that_type(tmp_path: Path, name: str) -> None:
    path = write_generator(tmp_path / "tiny.gguf", shape=WHOLE_BLOCKS)
    with Desk(path, n_ctx_seq=64, n_seq_max=1, cache_type=name) as desk:
        assert desk.ask("Hello", max_tokens=4).finish_reason == "length"
