from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ManifestInvalid
from appliance.store.artifact import Composed, Parts, compose, weight_layers
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import Digest, digest_of
from appliance.store.manifest import parse_manifest
from appliance.store.media_types import MODEL_CONFIG, MODEL_MANIFEST, MODEL_WEIGHT, OCI_MANIFEST
from appliance.store.model import Message, StoredModel, read_model
from appliance.store.model_config import About, ModelConfig


def gguf(seed: str, size: int = 1_000) -> Descriptor:
    return Descriptor(media_type="any/type", digest=digest_of(f"a GGUF: {seed}".encode()), size=size)


def read_back(composed: Composed) -> StoredModel:
    manifest = parse_manifest(composed.content, what="m")
    assert isinstance(manifest, Manifest)
    assert manifest == composed.manifest
    small: dict[Digest, bytes] = {blob.digest: content for blob, content in composed.blobs}
    return read_model(manifest, lambda blob: small[blob.digest])


def digests(stored: StoredModel) -> list[Digest]:
    return [blob.digest for blob in stored.files]


WORDS = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1, max_size=9)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
MAYBE = st.none() | TEXTS
GGUFS = st.integers(0, 1 << 40).map(lambda n: gguf(str(n), n))
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.lists(TEXTS, max_size=3).map(tuple),
)
ABOUTS = st.builds(
    About,
    created=st.sampled_from([None, "2026-11-22T00:00:00Z"]),
    authors=st.lists(TEXTS, max_size=2).map(tuple),
    family=MAYBE,
    name=MAYBE,
    version=MAYBE,
    title=MAYBE,
    description=MAYBE,
    doc_url=MAYBE,
    source_url=MAYBE,
    datasets_urls=st.lists(TEXTS, max_size=2).map(tuple),
    revision=MAYBE,
    vendor=MAYBE,
    licences=st.lists(TEXTS, max_size=2).map(tuple),
)
FACTS = st.builds(
    ModelConfig,
    architecture=st.none() | WORDS,
    format=st.just("gguf"),
    parameters=st.none() | WORDS,
    quantization=st.none() | WORDS,
    precision=st.none() | WORDS,
    context_length=st.none() | st.integers(1, 1 << 30),
    embedding_length=st.none() | st.integers(1, 1 << 20),
    families=st.lists(WORDS, max_size=2).map(tuple),
    capabilities=st.lists(
        st.sampled_from(["completion", "tools", "vision", "embedding", "insert"]), unique=True
    ).map(tuple),
    renderer=st.none() | WORDS,
    parser=st.none() | WORDS,
    requires=st.none() | WORDS,
    about=ABOUTS,
)
TEMPLATES = st.one_of(st.just((None, None)), st.tuples(TEXTS, st.sampled_from(["jinja", "go"])))
MODELS = st.builds(
    lambda template, **parts: Parts(template=template[0], template_kind=template[1], **parts),
    TEMPLATES,
    weights=st.lists(GGUFS, min_size=1, max_size=3, unique_by=lambda blob: blob.digest).map(tuple),
    projector=st.none() | GGUFS,
    adapters=st.lists(GGUFS, max_size=2).map(tuple),
    draft=st.none() | GGUFS,
    system=MAYBE,
    params=st.dictionaries(TEXTS, VALUES, max_size=3),
    messages=st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=st.text('aé\n"')),
        max_size=3,
    ).map(tuple),
    licences=st.lists(TEXTS, max_size=2).map(tuple),
    facts=FACTS,
)


@given(MODELS)
def test_what_is_composed_reads_back(parts: Parts) -> None:
    back = read_back(compose(parts))
    assert digests(back) == digests(parts)
    assert back.facts.size_bytes == sum(blob.size for blob in parts.files)
    named = replace(
        back,
        weights=parts.weights,
        adapters=parts.adapters,
        projector=parts.projector,
        draft=parts.draft,
        facts=replace(back.facts, size_bytes=None),
    )
    assert named == parts
    assert compose(back) == compose(parts)  # our own form is a fixed point


@given(MODELS)
def test_the_same_parts_give_the_same_bytes(parts: Parts) -> None:
    first, second = (
        compose(parts),
        compose(replace(parts, params=dict(sorted(parts.params.items(), reverse=True)))),
    )
    assert first.content == second.content
    assert first.descriptor.digest == digest_of(first.content)


def test_the_artifact_is_modelpacks_to_the_letter() -> None:
    parts = Parts(
        weights=(gguf("w"),),
        template="{{ messages }}",
        template_kind="jinja",
        licences=("MIT", "Apache-2.0"),
        facts=ModelConfig(
            architecture="llama",
            parameters="135M",
            quantization="Q4_1",
            capabilities=("completion", "tools", "vision", "thinking"),
            about=About(created="2026-11-22T00:00:00Z", name="smollm2", licences=("MIT",)),
        ),
    )
    composed = compose(parts)
    manifest = json.loads(composed.content)
    assert manifest["mediaType"] == OCI_MANIFEST
    assert manifest["artifactType"] == MODEL_MANIFEST
    assert manifest["config"]["mediaType"] == MODEL_CONFIG
    assert [
        (layer["mediaType"].removeprefix("application/vnd.cncf.model."), *layer["annotations"].values())
        for layer in manifest["layers"]
    ] == [
        ("weight.v1.raw", "model.gguf", "model.gguf"),
        ("weight.config.v1.raw", "template.jinja", "template.jinja"),
        ("weight.config.v1.raw", "facts.json", "facts.json"),
        ("doc.v1.raw", "LICENSE", "LICENSE"),
        ("doc.v1.raw", "LICENSE-2", "LICENSE-2"),
    ]
    assert config_of(composed) == {
        "descriptor": {"createdAt": "2026-11-22T00:00:00Z", "name": "smollm2", "licenses": ["MIT"]},
        "config": {
            "architecture": "llama",
            "format": "gguf",
            "paramSize": "135M",
            "quantization": "Q4_1",
            "capabilities": {
                "inputTypes": ["text", "image"],
                "outputTypes": ["text"],
                "reasoning": True,
                "toolUsage": True,
            },
        },
        "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in manifest["layers"]]},
    }


def config_of(composed: Composed) -> Mapping[str, Any]:
    found: dict[str, Any] = next(
        json.loads(content) for blob, content in composed.blobs if blob.media_type == MODEL_CONFIG
    )
    return found


def test_a_split_model_is_named_as_llama_cpp_names_its_files() -> None:
    names = [layer.annotations["org.cncf.model.filepath"] for layer in weight_layers((gguf("a"), gguf("b")))]
    assert names == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]


def test_a_changed_template_costs_only_its_layer_and_the_config() -> None:
    base = Parts(weights=(gguf("w"),), template="a", template_kind="jinja", system="s")
    before = {blob.digest for blob in compose(base).manifest.blobs}
    after = {blob.digest for blob in compose(replace(base, template="b")).manifest.blobs}
    assert len(after - before) == 2


def test_weights_of_another_standard_keep_their_digest() -> None:
    layer = compose(Parts(weights=(gguf("w", 5),))).manifest.layers[0]
    assert (layer.media_type, layer.digest, layer.size) == (MODEL_WEIGHT, gguf("w").digest, 5)


def test_equal_texts_are_one_blob() -> None:
    composed = compose(Parts(weights=(gguf("w"),), system="same", licences=("same", "same")))
    assert len(composed.blobs) == 2  # the text and the config
    assert read_back(composed).licences == ("same", "same")


def test_parts_without_weights_are_refused() -> None:
    with pytest.raises(ManifestInvalid):
        compose(Parts(weights=()))
