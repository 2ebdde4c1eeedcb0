from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ManifestInvalid
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import Digest, digest_of
from appliance.store.manifest import parse_manifest, render_manifest
from appliance.store.model import MAX_TEXT_BYTES, Message, StoredModel, read_model
from appliance.store.model_config import About

DOCKER_IMAGE = "application/vnd.docker.container.image.v1+json"
OLLAMA = "application/vnd.ollama.image."
DOCKER = "application/vnd.docker.ai."
CNCF = "application/vnd.cncf.model."
CNAI = "application/vnd.cnai.model."
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"


class Artifact:
    """A manifest in the making, with its blobs."""

    def __init__(self, config_type: str = OCI_EMPTY, config: object = None) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.fetched: list[Digest] = []
        self.layers: list[Descriptor] = []
        self.config = self._store(config_type, json.dumps({} if config is None else config).encode(), {})

    def add(
        self, media_type: str, content: bytes | str | object, name: str | None = None, key: str = FILEPATH
    ) -> Artifact:
        if isinstance(content, str):
            content = content.encode()
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.layers.append(self._store(media_type, raw, {key: name} if name is not None else {}))
        return self

    def read(self) -> StoredModel:
        manifest = Manifest(
            media_type="application/vnd.oci.image.manifest.v1+json",
            config=self.config,
            layers=tuple(self.layers),
        )
        parsed = parse_manifest(render_manifest(manifest), what="m")
        assert isinstance(parsed, Manifest)
        return read_model(parsed, self.fetch, what="m")

    def fetch(self, blob: Descriptor) -> bytes:
        self.fetched.append(blob.digest)
        return self.blobs[blob.digest]

    def _store(self, media_type: str, content: bytes, annotations: dict[str, str]) -> Descriptor:
        digest = digest_of(content)
        self.blobs[digest] = content
        return Descriptor(media_type=media_type, digest=digest, size=len(content), annotations=annotations)


def refused(artifact: Artifact) -> str:
    with pytest.raises(ManifestInvalid) as caught:
        artifact.read()
    return caught.value.message


OLLAMA_CONFIG: dict[str, Any] = {
    "model_format": "gguf",
    "model_family": "llama",
    "model_families": ["llama"],
    "model_type": "135M",
    "file_type": "Q4_1",
    "architecture": "amd64",
    "os": "linux",
    "context_length": 8192,
    "capabilities": ["completion", "tools"],
    "renderer": "qwen3-coder",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:00"]},
}


def test_ollamas_artifact_is_read() -> None:
    artifact = (
        Artifact(DOCKER_IMAGE, OLLAMA_CONFIG)
        .add(OLLAMA + "model", b"weights")
        .add(OLLAMA + "projector", b"mmproj")
        .add(OLLAMA + "adapter", b"lora")
        .add(OLLAMA + "draft", b"draft")
        .add(OLLAMA + "template", "{{ .Prompt }}")
        .add(OLLAMA + "system", "Be kind.")
        .add(OLLAMA + "params", {"stop": ["a", "b"], "temperature": 0.7, "num_ctx": 4096})
        .add(OLLAMA + "messages", [{"role": "user", "content": "hé"}])
        .add(OLLAMA + "license", "MIT")
        .add(OLLAMA + "license", "and more")
        .add(OLLAMA + "embed", b"legacy")
    )
    stored = artifact.read()
    assert [artifact.blobs[blob.digest] for blob in stored.files] == [
        b"weights",
        b"lora",
        b"mmproj",
        b"draft",
    ]
    assert (stored.template, stored.template_kind) == ("{{ .Prompt }}", "go")
    assert stored.system == "Be kind."
    assert stored.params == {"stop": ("a", "b"), "temperature": 0.7, "num_ctx": 4096}
    assert stored.messages == (Message(role="user", content="hé"),)
    assert stored.licences == ("MIT", "and more")
    facts = stored.facts
    assert (facts.architecture, facts.parameters, facts.quantization) == ("llama", "135M", "Q4_1")
    assert (facts.context_length, facts.capabilities, facts.renderer) == (
        8192,
        ("completion", "tools"),
        "qwen3-coder",
    )
    assert facts.size_bytes == len(b"weights" + b"mmproj" + b"lora" + b"draft")


def test_ollamas_config_is_read_with_and_without_rootfs() -> None:
    bare = {key: value for key, value in OLLAMA_CONFIG.items() if key != "rootfs"}
    models = [
        Artifact(DOCKER_IMAGE, config).add(OLLAMA + "model", b"w").read() for config in (bare, OLLAMA_CONFIG)
    ]
    assert models[0] == models[1]


def test_weights_are_never_fetched() -> None:
    artifact = Artifact(DOCKER_IMAGE, OLLAMA_CONFIG).add(OLLAMA + "model", b"w").add(OLLAMA + "system", "s")
    artifact.read()
    assert digest_of(b"w") not in artifact.fetched


@pytest.mark.parametrize("version", ["v0.1", "v0.2"])
@pytest.mark.parametrize(
    ("projector", "lora"), [("mmproj", "gguf.v3.lora"), ("gguf.v3.mmproj", "gguf.v3.lora")]
)
def test_dockers_artifact_is_read(version: str, projector: str, lora: str) -> None:
    config = {
        "config": {
            "format": "gguf",
            "quantization": "IQ2_XXS/Q4_K_M",
            "parameters": "361.82 M",
            "architecture": "llama",
            "size": "256.35MiB",
            "gguf": {"llama.context_length": "2048", "general.architecture": "llama"},
            "context_size": 1024,
        },
        "descriptor": {"created": "2025-03-31T00:00:00Z"},
        "rootfs": {"type": "rootfs", "diff_ids": []},
    }
    stored = (
        Artifact(f"{DOCKER}model.config.{version}+json", config)
        .add(DOCKER + "gguf.v3", b"w", "model.gguf")
        .add(DOCKER + projector, b"p")
        .add(DOCKER + lora, b"l")
        .add(DOCKER + "chat.template.jinja", "{{ messages }}")
        .add(DOCKER + "license", "MIT")
        .add(DOCKER + "dir.tar", b"tar")
        .read()
    )
    assert [blob.digest for blob in stored.files] == [digest_of(b"w"), digest_of(b"l"), digest_of(b"p")]
    assert (stored.template, stored.template_kind) == ("{{ messages }}", "jinja")
    assert stored.licences == ("MIT",)
    assert stored.params == {"num_ctx": 1024}
    assert stored.facts.context_length == 2048
    assert stored.facts.quantization == "IQ2_XXS/Q4_K_M"
    assert stored.facts.about == About(created="2025-03-31T00:00:00Z")


def test_the_form_of_dockers_specification_is_read_too() -> None:
    config = {
        "descriptor": {"createdAt": "2025-01-01T00:00:00Z"},
        "config": {
            "format": "gguf",
            "format_version": "3",
            "gguf": {"architecture": "llama", "parameter_count": "1.10 B", "quantization": "Q4_0"},
            "size": "635992801",
        },
        "files": [{"diffID": "sha256:00", "type": DOCKER + "gguf.v3"}],
    }
    facts = Artifact(DOCKER + "model.config.v0.1+json", config).add(DOCKER + "gguf.v3", b"w").read().facts
    assert (facts.architecture, facts.parameters, facts.quantization) == ("llama", "1.10 B", "Q4_0")
    assert facts.about.created == "2025-01-01T00:00:00Z"


def test_a_file_of_dockers_second_form_is_known_by_its_name() -> None:
    stored = (
        Artifact(DOCKER + "model.config.v0.2+json", {"config": {"format": "gguf"}})
        .add(DOCKER + "gguf.v3", b"w", "m.gguf")
        .add(DOCKER + "model.file", "{{ jinja }}", "chat_template.jinja")
        .add(DOCKER + "model.file", "read me", "README.md")
        .read()
    )
    assert (stored.template, stored.template_kind) == ("{{ jinja }}", "jinja")


@pytest.mark.parametrize("prefix", [CNCF, CNAI])
@pytest.mark.parametrize("weight", ["weight.v1.raw", "weight.v1.gguf"])
def test_modelpacks_artifact_and_its_elders_are_read(prefix: str, weight: str) -> None:
    config = {
        "descriptor": {
            "name": "smol",
            "authors": ["a"],
            "licenses": ["MIT"],
            "datasetsURL": ["d"],
            "docURL": "u",
        },
        "config": {
            "architecture": "llama",
            "format": "GGUF",
            "paramSize": "135M",
            "quantization": "Q4_1",
            "capabilities": {"inputTypes": ["text", "image"], "outputTypes": ["text"], "toolUsage": True},
        },
        "modelfs": {"type": "layers", "diffIds": ["sha256:00"]},
    }
    stored = (
        Artifact(prefix + "config.v1+json", config)
        .add(prefix + weight, b"w", "smol.Q4_1.gguf")
        .add(prefix + weight, b"p", "mmproj-model-f16.gguf")
        .add(prefix + weight, b"l", "adapter-1.gguf")
        .add(prefix + weight, b"d", "draft.gguf")
        .add(prefix + "weight.config.v1.raw", "jinja", "some/dir/chat_template.jinja")
        .add(prefix + "weight.config.v1.raw", "{}", "tokenizer_config.json")
        .add(prefix + "doc.v1.raw", "MIT", "LICENSE.txt")
        .add(prefix + "doc.v1.raw", "hello", "README.md")
        .add(prefix + "code.v1.tar", b"tar")
        .add(prefix + "dataset.v1.tar+gzip", b"tar")
        .read()
    )
    assert [blob.digest for blob in stored.files] == [digest_of(c) for c in (b"w", b"l", b"p", b"d")]
    assert stored.template == "jinja"
    assert stored.licences == ("MIT",)
    assert stored.facts.capabilities == ("completion", "tools", "vision")
    assert stored.facts.about == About(
        name="smol", authors=("a",), licences=("MIT",), datasets_urls=("d",), doc_url="u"
    )


@pytest.mark.parametrize("name", [None, "model.file", "tiny-v1.1", "a/b/model.GGUF"])
def test_a_weight_need_not_be_named_as_a_gguf(name: str | None) -> None:
    assert Artifact().add(CNCF + "weight.v1.raw", b"w", name).read().weights[0].digest == digest_of(b"w")


@pytest.mark.parametrize("key", [FILEPATH, TITLE, "org.cnai.model.filepath"])
@pytest.mark.parametrize("media_type", [CNCF + "weight.v1.raw", DOCKER + "gguf.v3", OLLAMA + "model"])
def test_split_files_are_one_model_in_the_order_of_their_names(key: str, media_type: str) -> None:
    artifact = Artifact()
    for number in (2, 3, 1):
        artifact.add(media_type, f"part {number}", f"dir/big-{number:05}-of-00003.gguf", key)
    contents = [artifact.blobs[blob.digest] for blob in artifact.read().weights]
    assert contents == [b"part 1", b"part 2", b"part 3"]


def test_split_files_without_names_stay_as_the_manifest_has_them() -> None:
    artifact = Artifact().add(DOCKER + "gguf.v3", b"b").add(DOCKER + "gguf.v3", b"a")
    assert [blob.digest for blob in artifact.read().weights] == [digest_of(b"b"), digest_of(b"a")]


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


def model() -> Artifact:
    return Artifact().add(OLLAMA + "model", b"w")


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
    ids=range(25),
)
def test_a_part_that_is_not_sound_is_refused(artifact: Artifact) -> None:
    assert len(refused(artifact)) < 1_000


def test_too_many_adapters_and_licences_are_refused() -> None:
    artifact, other = model(), model()
    for number in range(101):
        artifact.add(OLLAMA + "adapter", str(number))
        other.add(OLLAMA + "license", str(number))
    refused(artifact)
    refused(other)


def test_an_empty_text_is_none() -> None:
    stored = (
        model().add(OLLAMA + "template", b"").add(OLLAMA + "system", b"").add(OLLAMA + "license", b"").read()
    )
    assert (stored.template, stored.template_kind, stored.system, stored.licences) == (None, None, None, ())


def test_a_config_of_an_unknown_type_says_nothing() -> None:
    facts = (
        Artifact("application/vnd.other+json", {"model_type": "7B"}).add(OLLAMA + "model", b"w").read().facts
    )
    assert facts.parameters is None
    assert facts.size_bytes == 1


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
