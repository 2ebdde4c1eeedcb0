from __future__ import annotations

from typing import Any

import pytest

from appliance.store.digest import digest_of
from appliance.store.model import Message
from appliance.store.model_config import About
from tests.fakes.artifacts import CNAI, CNCF, DOCKER, DOCKER_IMAGE, FILEPATH, OLLAMA, TITLE, Artifact, model

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
        .add(DOCKER + "model.file", "MIT", "LICENSE")
        .read()
    )
    assert (stored.template, stored.template_kind) == ("{{ jinja }}", "jinja")
    assert stored.licences == ("MIT",)


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
