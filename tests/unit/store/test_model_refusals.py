from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ManifestInvalid
from appliance.store.model import MAX_TEXT_BYTES, StoredModel
from tests.fakes.artifacts import CNCF, DOCKER, DOCKER_IMAGE, OLLAMA, Artifact, model
from tests.unit.cpu_time import least_cpu_s


def refused(artifact: Artifact) -> str:
    with pytest.raises(ManifestInvalid) as caught:
        artifact.read()
    return caught.value.message


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a-00001-of-00002.gguf"], "not complete"),
        (["a-00001-of-00003.gguf", "a-00002-of-00003.gguf"], "not complete"),
        (["a-00001-of-00002.gguf", "a-00001-of-00002.gguf"], "not complete"),
        (["a-00000-of-00002.gguf", "a-00001-of-00002.gguf"], "not complete"),
        (["a-00001-of-00002.gguf", "a-00002-of-00003.gguf"], "not complete"),
        (["a-00001-of-00002.gguf", "b-00002-of-00002.gguf"], "several models"),
        (["a-Q4_0.gguf", "a-Q8_0.gguf"], "several models"),
        (["a-00001-of-00001.gguf", "b.gguf"], "several models"),
        (["a.gguf", None], "several models"),
    ],
)
def test_what_is_not_one_whole_model_is_refused(names: list[str | None], said: str) -> None:
    artifact = Artifact()
    for number, name in enumerate(names):
        artifact.add(CNCF + "weight.v1.raw", f"part {number}", name)
    assert said in refused(artifact)


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (Artifact().add(OLLAMA + "tensor", b"t"), "safetensors"),
        (Artifact().add(OLLAMA + "model", b"w").add(OLLAMA + "json", b"{}"), "safetensors"),
        (Artifact().add(DOCKER + "safetensors", b"t"), "safetensors"),
        (Artifact().add(DOCKER + "dduf", b"t"), "DDUF"),
        (Artifact().add(CNCF + "weight.v1.safetensors", b"t"), "safetensors"),
        (Artifact().add(CNCF + "weight.v1.raw", b"t", "model.safetensors"), ".safetensors"),
        (Artifact().add(CNCF + "weight.v1.raw", b"t", "pytorch_model.BIN"), ".bin"),
        (Artifact().add(CNCF + "weight.v1.tar", b"t"), "archive"),
        (Artifact().add(CNCF + "weight.v1.tar+zstd", b"t", "model.gguf"), "archive"),
        (Artifact().add("application/vnd.oci.image.layer.v1.tar+gzip", b"t"), "container image"),
        (Artifact().add("application/vnd.docker.image.rootfs.diff.tar.gzip", b"t"), "container image"),
        (Artifact().add("application/octet-stream", b"t", "model.gguf"), "no GGUF weights"),
        (Artifact().add(CNCF + "weight.v1.raw", b"t", "mmproj.gguf"), "no GGUF weights"),
        (Artifact(), "no GGUF weights"),
        (
            Artifact().add(DOCKER + "gguf.v3", b"w").add(DOCKER + "model.file", b"t", "x.safetensors"),
            "safetensors",
        ),
        (Artifact(DOCKER_IMAGE, {"model_format": "safetensors"}).add(OLLAMA + "model", b"w"), "safetensors"),
        (
            Artifact(CNCF + "config.v1+json", {"config": {"format": "onnx"}}).add(
                CNCF + "weight.v1.raw", b"w"
            ),
            "onnx",
        ),
        (
            Artifact(DOCKER_IMAGE, {"remote_host": "cloud.example"}).add(OLLAMA + "model", b"w"),
            "cloud.example",
        ),
    ],
)
def test_what_is_no_gguf_model_is_refused_by_its_name(artifact: Artifact, said: str) -> None:
    assert said in refused(artifact)


@pytest.mark.parametrize(
    "artifact",
    [
        model().add(OLLAMA + "template", b"\xff"),
        model().add(OLLAMA + "system", "\x00" * (MAX_TEXT_BYTES + 1)),
        model().add(OLLAMA + "license", "x" * (MAX_TEXT_BYTES + 1)),
        model().add(OLLAMA + "template", "a").add(OLLAMA + "template", "b"),
        model().add(OLLAMA + "template", "a").add(DOCKER + "chat.template.jinja", "b"),
        model().add(OLLAMA + "system", "a").add(OLLAMA + "system", "b"),
        model().add(OLLAMA + "projector", "a").add(OLLAMA + "projector", "b"),
        model().add(OLLAMA + "params", []),
        model().add(OLLAMA + "params", b"{"),
        model().add(OLLAMA + "params", {"a": {"b": 1}}),
        model().add(OLLAMA + "params", {"a": None}),
        model().add(OLLAMA + "params", {"a": [1]}),
        model().add(OLLAMA + "params", b'{"a":1,"a":2}'),
        model().add(OLLAMA + "params", b'{"a":NaN}'),
        model().add(OLLAMA + "messages", {}),
        model().add(OLLAMA + "messages", [{"role": "user", "content": ""}] * 10_001),
        model().add(OLLAMA + "messages", [{"role": "tool", "content": ""}]),
        model().add(OLLAMA + "messages", [{"role": "user"}]),
        model().add(OLLAMA + "messages", [{"role": "user", "content": "", "images": ["x"]}]),
        model().add(CNCF + "weight.config.v1.raw", "[]", "facts.json"),
        Artifact(DOCKER_IMAGE, []).add(OLLAMA + "model", b"w"),
        Artifact(DOCKER_IMAGE, {"model_type": 7}).add(OLLAMA + "model", b"w"),
        Artifact(DOCKER_IMAGE, {"model_type": "\x1b[2J"}).add(OLLAMA + "model", b"w"),
        Artifact(DOCKER_IMAGE, {"model_type": "x\n"}).add(OLLAMA + "model", b"w"),
        Artifact(DOCKER_IMAGE, {"context_length": -1}).add(OLLAMA + "model", b"w"),
        Artifact(DOCKER + "model.config.v0.1+json", {}).add(DOCKER + "gguf.v3", b"w"),
    ],
    ids=range(26),
)
def test_a_part_that_is_not_sound_is_refused(artifact: Artifact) -> None:
    assert len(refused(artifact)) < 1_000


def test_a_config_too_large_is_refused_before_it_is_fetched() -> None:
    artifact = Artifact(DOCKER_IMAGE, {"x": "y" * (4 * 1024 * 1024)}).add(OLLAMA + "model", b"w")
    assert "its config has" in refused(artifact)
    assert artifact.fetched == []


def test_names_made_to_keep_patterns_busy_cost_nothing() -> None:
    artifact = Artifact()
    for number in range(50):
        artifact.add(CNCF + "weight.v1.raw", str(number), "-mmproj" * 9_000)
    assert least_cpu_s(artifact.read) < 0.5


def test_too_many_adapters_and_licences_are_refused() -> None:
    artifact, other = model(), model()
    for number in range(101):
        artifact.add(OLLAMA + "adapter", str(number))
        other.add(OLLAMA + "license", str(number))
    refused(artifact)
    refused(other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["config", "descriptor", "format", "gguf", "role", "content", "model_type", "stop"]
            ),
            inner,
        )
    ),
    max_leaves=6,
)


@given(
    st.sampled_from([DOCKER_IMAGE, DOCKER + "model.config.v0.1+json", CNCF + "config.v1+json"]),
    JSON,
    st.lists(
        st.tuples(
            st.sampled_from(
                [OLLAMA + "params", OLLAMA + "messages", OLLAMA + "template", CNCF + "weight.config.v1.raw"]
            ),
            JSON,
            st.sampled_from([None, "facts.json", "messages.json", "../../x", "", "/", "a\\b", "\n"]),
        ),
        max_size=3,
    ),
)
def test_any_config_and_any_layer_make_a_model_or_are_refused(
    kind: str, config: object, layers: list[tuple[str, object, str | None]]
) -> None:
    artifact = Artifact(kind, config if config is not None else {}).add(OLLAMA + "model", b"w")
    for media_type, content, name in layers:
        artifact.add(media_type, json.dumps(content).encode(), name)
    try:
        assert isinstance(artifact.read(), StoredModel)
    except ManifestInvalid:
        return
