"""What single architectures of llama.cpp assert of their dimensions is refused before it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import ModelInvalid
from appliance.gguf.values import ValueType
from appliance.store.admission import GgufKind, check
from tests.fakes.gguf_corpus import families, seeds
from tests.fakes.gguf_corpus.raw import RawGguf

U32, I32, STRING = ValueType.UINT32, ValueType.INT32, ValueType.STRING


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def as_architecture(raw: RawGguf, name: str) -> RawGguf:
    old = raw.pair("general.architecture").value[8:]
    for pair in raw.pairs:
        pair.key.text = pair.key.text.replace(old + b".", name.encode() + b".")
    return raw.set("general.architecture", STRING, name)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            lambda: seeds.generator().add("llama.attention.value_length", U32, 8),
            "its heads have keys of 16 and values of 8 dimensions; 'llama' has equal ones",
        ),
        (
            lambda: seeds.generator().set("llama.rope.dimension_count", U32, 8),
            "RoPE turns 8 of 16 dimensions; in 'llama' it turns all",
        ),
        (
            lambda: as_architecture(seeds.generator(), "smallthinker"),
            "it has no experts, and 'smallthinker' is made of them",
        ),
        (
            lambda: as_architecture(seeds.generator(), "paddleocr"),
            "'paddleocr' needs rope.dimension_sections, and it has none",
        ),
        (
            lambda: as_architecture(seeds.generator(), "qwen2vl").add_array(
                "qwen2vl.rope.dimension_sections", I32, [0, 0, 0, 8]
            ),
            "'qwen2vl' needs rope.dimension_sections, and it has none",
        ),
        (
            lambda: families.jamba().set("jamba.ssm.inner_size", U32, 64),
            "its state space has 64 dimensions, not twice the model's 64",
        ),
        (
            lambda: as_architecture(seeds.mixture(), "grovemoe").add("grovemoe.experts_per_group", U32, 0),
            "grovemoe.experts_per_group is 0, less than 1",
        ),
    ],
)
def test_a_failing_assertion_is_a_sentence(raw: Callable[[], RawGguf], expected: str, path: Path) -> None:
    path.write_bytes(raw().render())
    with pytest.raises(ModelInvalid) as caught:
        check([path], model="it")
    assert caught.value.fields["reason"] == expected


@pytest.mark.parametrize(
    "raw",
    [
        lambda: as_architecture(seeds.generator(), "qwen2vl").add_array(
            "qwen2vl.rope.dimension_sections", I32, [2, 3, 3, 0]
        ),
        lambda: as_architecture(seeds.mixture(), "llada-moe"),
        lambda: seeds.generator().add("llama.attention.key_length", U32, 16),
        lambda: families.gemma3().add("gemma3.attention.key_length_swa", U32, 16),
    ],
)
def test_what_holds_passes(raw: Callable[[], RawGguf], path: Path) -> None:
    path.write_bytes(raw().render())
    assert check([path], model="it").kind is GgufKind.MODEL
