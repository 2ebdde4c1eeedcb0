"""What a manifest's config says of a model: four dialects in, ModelPack's out.

    Ollama     `application/vnd.docker.container.image.v1+json`, flat, snake_case; `rootfs` or not
    Docker     `application/vnd.docker.ai.model.config.v0.1+json`, v0.2: {config, descriptor, rootfs | files}
    ModelPack  `application/vnd.cncf.model.config.v1+json`: {descriptor, config, modelfs}; its schema allows
               no further keys, so what it has no field for goes to a layer of its own, `facts.json`
    others     nothing is known

Facts to show and to choose by; the GGUF's header has the last word wherever it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import msgspec

from appliance.errors import ManifestInvalid
from appliance.store import strict_json
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.media_types import DOCKER_CONFIG, DOCKER_MODEL_CONFIGS, MODEL_CONFIGS

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024

Fetch = Callable[[Descriptor], bytes]

_Word = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[ -~]*\Z")]
"""Shown in tables and compared: printable ASCII."""
_Text = Annotated[str, msgspec.Meta(max_length=16_384)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Where a model is from; ModelPack's `descriptor`."""

    created: str | None = None
    """RFC 3339."""
    authors: tuple[str, ...] = ()
    family: str | None = None
    name: str | None = None
    version: str | None = None
    title: str | None = None
    description: str | None = None
    doc_url: str | None = None
    source_url: str | None = None
    datasets_urls: tuple[str, ...] = ()
    revision: str | None = None
    vendor: str | None = None
    licences: tuple[str, ...] = ()
    """SPDX identifiers; the texts are layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What the publisher says; None: nothing."""

    architecture: str | None = None
    format: str | None = None
    parameters: str | None = None
    """As people write it: `135M`."""
    quantization: str | None = None
    precision: str | None = None
    context_length: int | None = None
    """Tokens the model was trained for."""
    embedding_length: int | None = None
    size_bytes: int | None = None
    """Of all GGUF files together; counted, not believed."""
    families: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    """In Ollama's words: completion, tools, insert, vision, audio, embedding, thinking."""
    renderer: str | None = None
    """Ollama's built-in prompt renderer and answer parser that the model asks for."""
    parser: str | None = None
    requires: str | None = None
    """Ollama's version that the model asks for."""
    about: About = About()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig:
    facts: ModelConfig
    context_size: int | None = None
    """Docker's wish for the context that is served: what Ollama calls the parameter num_ctx."""


def read_config(descriptor: Descriptor, fetch: Fetch, *, what: str) -> ReadConfig:
    """Raises ManifestInvalid, also for a model that is no GGUF, or that lives on another machine."""
    reader = _READERS.get(descriptor.media_type)
    if reader is None:
        return ReadConfig(facts=ModelConfig())
    if descriptor.size > MAX_CONFIG_BYTES:
        raise ManifestInvalid(what=what, reason=f"its config has {descriptor.size} bytes")
    found = reader(fetch(descriptor), what)
    if found.facts.format and found.facts.format.lower() != "gguf":
        raise ManifestInvalid(what=what, reason=f"it is a {found.facts.format} model; only GGUF is served")
    return found


# ── Ollama ──────────────────────────────────────────────────────────────────────────────────────


class _Ollama(msgspec.Struct):
    model_format: _Word | None = None
    model_family: _Word | None = None
    model_families: list[_Word] | None = None
    model_type: _Word | None = None
    file_type: _Word | None = None
    renderer: _Word | None = None
    parser: _Word | None = None
    requires: _Word | None = None
    remote_host: _Word | None = None
    remote_model: _Word | None = None
    capabilities: list[_Word] | None = None
    context_length: _Count | None = None
    embedding_length: _Count | None = None
    base_name: _Text | None = None


def _ollama(content: bytes, what: str) -> ReadConfig:
    said = strict_json.decode(content, _Ollama, what=f"the config of {what}", max_bytes=MAX_CONFIG_BYTES)
    if said.remote_host or said.remote_model:
        raise ManifestInvalid(
            what=what, reason=f"it runs on {said.remote_host or 'another machine'}, not here"
        )
    return ReadConfig(
        facts=ModelConfig(
            architecture=said.model_family or None,
            format=said.model_format or None,
            parameters=said.model_type or None,
            quantization=said.file_type or None,
            context_length=said.context_length or None,
            embedding_length=said.embedding_length or None,
            families=tuple(said.model_families or ()),
            capabilities=tuple(said.capabilities or ()),
            renderer=said.renderer or None,
            parser=said.parser or None,
            requires=said.requires or None,
            about=About(name=said.base_name or None),
        )
    )


# ── Docker Model Runner ─────────────────────────────────────────────────────────────────────────


class _DockerInner(msgspec.Struct):
    format: _Word | None = None
    quantization: _Word | None = None
    parameters: _Word | None = None
    architecture: _Word | None = None
    gguf: dict[str, Any] | None = None
    context_size: Annotated[int, msgspec.Meta(ge=-1, le=1 << 31)] | None = None


class _DockerDescriptor(msgspec.Struct, rename={"created_at": "createdAt"}):
    created: _Word | None = None
    created_at: _Word | None = None


class _Docker(msgspec.Struct):
    config: _DockerInner
    descriptor: _DockerDescriptor | None = None


def _docker(content: bytes, what: str) -> ReadConfig:
    said = strict_json.decode(content, _Docker, what=f"the config of {what}", max_bytes=MAX_CONFIG_BYTES)
    inner, header = said.config, said.config.gguf or {}
    architecture = inner.architecture or _word(header, "general.architecture", "architecture")
    dated = said.descriptor or _DockerDescriptor()
    size = inner.context_size
    return ReadConfig(
        facts=ModelConfig(
            architecture=architecture,
            format=inner.format or None,
            parameters=inner.parameters or _word(header, "parameter_count"),
            quantization=inner.quantization or _word(header, "quantization"),
            context_length=_count(header, f"{architecture}.context_length"),
            embedding_length=_count(header, f"{architecture}.embedding_length"),
            about=About(created=dated.created or dated.created_at or None),
        ),
        context_size=size if size and size > 0 else None,
    )


def _word(header: Mapping[str, Any], *keys: str) -> str | None:
    values = (header.get(key) for key in keys)
    return next((v for v in values if isinstance(v, str) and 0 < len(v) <= 200 and v.isprintable()), None)


def _count(header: Mapping[str, Any], key: str) -> int | None:
    """Docker writes every value of a GGUF's header as text."""
    value = header.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    return None


# ── ModelPack ───────────────────────────────────────────────────────────────────────────────────


class _PackDescriptor(
    msgspec.Struct,
    omit_defaults=True,
    rename={
        "created_at": "createdAt",
        "doc_url": "docURL",
        "source_url": "sourceURL",
        "datasets_url": "datasetsURL",
    },
):
    """ModelPack `schema/config-schema.json`, ModelDescriptor."""

    created_at: _Word | None = None
    authors: list[_Text] | None = None
    family: _Text | None = None
    name: _Text | None = None
    doc_url: _Text | None = None
    source_url: _Text | None = None
    datasets_url: list[_Text] | None = None
    version: _Text | None = None
    revision: _Text | None = None
    vendor: _Text | None = None
    licenses: list[_Text] | None = None
    title: _Text | None = None
    description: _Text | None = None


class _PackCapabilities(msgspec.Struct, omit_defaults=True, rename="camel"):
    input_types: list[_Word] | None = None
    output_types: list[_Word] | None = None
    reasoning: bool | None = None
    tool_usage: bool | None = None


class _PackInner(msgspec.Struct, omit_defaults=True, rename="camel"):
    architecture: _Word | None = None
    format: _Word | None = None
    param_size: _Word | None = None
    precision: _Word | None = None
    quantization: _Word | None = None
    capabilities: _PackCapabilities | None = None


class _PackFiles(msgspec.Struct, rename="camel"):
    type: str
    diff_ids: list[str]


class _Pack(msgspec.Struct, omit_defaults=True):
    """`modelfs` repeats the layers' digests; the manifest is what counts."""

    descriptor: _PackDescriptor | None = None
    config: _PackInner | None = None
    modelfs: _PackFiles | None = None


def _pack(content: bytes, what: str) -> ReadConfig:
    said = strict_json.decode(content, _Pack, what=f"the config of {what}", max_bytes=MAX_CONFIG_BYTES)
    inner = said.config or _PackInner()
    return ReadConfig(
        facts=ModelConfig(
            architecture=inner.architecture or None,
            format=inner.format or None,
            parameters=inner.param_size or None,
            quantization=inner.quantization or None,
            precision=inner.precision or None,
            capabilities=_in_ollamas_words(inner.capabilities or _PackCapabilities()),
            about=_about(said.descriptor or _PackDescriptor()),
        )
    )


def _about(said: _PackDescriptor) -> About:
    return About(
        created=said.created_at or None,
        authors=tuple(said.authors or ()),
        family=said.family or None,
        name=said.name or None,
        version=said.version or None,
        title=said.title or None,
        description=said.description or None,
        doc_url=said.doc_url or None,
        source_url=said.source_url or None,
        datasets_urls=tuple(said.datasets_url or ()),
        revision=said.revision or None,
        vendor=said.vendor or None,
        licences=tuple(said.licenses or ()),
    )


def _in_ollamas_words(said: _PackCapabilities) -> tuple[str, ...]:
    inputs, outputs = said.input_types or [], said.output_types or []
    given = {
        "completion": "text" in outputs,
        "tools": said.tool_usage,
        "vision": "image" in inputs,
        "audio": "audio" in inputs,
        "embedding": "embedding" in outputs,
        "thinking": said.reasoning,
    }
    return tuple(word for word, stands in given.items() if stands)


def render_config(facts: ModelConfig, layers: tuple[Digest, ...]) -> bytes:
    """ModelPack's config of a model with these layers. Raw layers: what is stored is what is meant."""
    about = facts.about
    return msgspec.json.encode(
        _Pack(
            descriptor=_PackDescriptor(
                created_at=about.created,
                authors=list(about.authors) or None,
                family=about.family,
                name=about.name,
                doc_url=about.doc_url,
                source_url=about.source_url,
                datasets_url=list(about.datasets_urls) or None,
                version=about.version,
                revision=about.revision,
                vendor=about.vendor,
                licenses=list(about.licences) or None,
                title=about.title,
                description=about.description,
            ),
            config=_PackInner(
                architecture=facts.architecture,
                format="gguf",
                param_size=facts.parameters,
                precision=facts.precision,
                quantization=facts.quantization,
                capabilities=_in_modelpacks_words(facts.capabilities),
            ),
            modelfs=_PackFiles(type="layers", diff_ids=list(layers)),
        )
    )


def _in_modelpacks_words(words: tuple[str, ...]) -> _PackCapabilities | None:
    if not words:
        return None
    kinds = {"vision": "image", "audio": "audio"}
    outputs = {"completion": "text", "embedding": "embedding"}
    return _PackCapabilities(
        input_types=["text", *(kinds[word] for word in words if word in kinds)],
        output_types=[outputs[word] for word in words if word in outputs] or ["text"],
        reasoning="thinking" in words or None,
        tool_usage="tools" in words or None,
    )


# ── what ModelPack has no field for ─────────────────────────────────────────────────────────────


class _Extras(msgspec.Struct, omit_defaults=True):
    context_length: _Count | None = None
    embedding_length: _Count | None = None
    families: list[_Word] | None = None
    capabilities: list[_Word] | None = None
    renderer: _Word | None = None
    parser: _Word | None = None
    requires: _Word | None = None


def render_extras(facts: ModelConfig) -> bytes | None:
    """None: there is nothing to say."""
    extras = _Extras(
        context_length=facts.context_length,
        embedding_length=facts.embedding_length,
        families=list(facts.families) or None,
        capabilities=list(facts.capabilities) or None,
        renderer=facts.renderer,
        parser=facts.parser,
        requires=facts.requires,
    )
    return None if extras == _Extras() else msgspec.json.encode(extras)


def with_extras(facts: ModelConfig, content: bytes, *, what: str) -> ModelConfig:
    """Raises ManifestInvalid."""
    said = strict_json.decode(content, _Extras, what=f"facts.json of {what}", max_bytes=MAX_CONFIG_BYTES)
    return replace(
        facts,
        context_length=said.context_length or facts.context_length,
        embedding_length=said.embedding_length or facts.embedding_length,
        families=tuple(said.families or facts.families),
        capabilities=tuple(said.capabilities or facts.capabilities),
        renderer=said.renderer or facts.renderer,
        parser=said.parser or facts.parser,
        requires=said.requires or facts.requires,
    )


_READERS: Final[Mapping[str, Callable[[bytes, str], ReadConfig]]] = {
    DOCKER_CONFIG: _ollama,
    **dict.fromkeys(DOCKER_MODEL_CONFIGS, _docker),
    **dict.fromkeys(MODEL_CONFIGS, _pack),
}
