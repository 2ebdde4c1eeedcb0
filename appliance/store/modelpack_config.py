"""ModelPack's config of a model, `schema/config-schema.json` of its specification: read and written.

The schema allows no further keys. What it has no field for stands in a layer of its own, `facts.json`.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from appliance.store import strict_json
from appliance.store.digest import Digest
from appliance.store.model_config import (
    MAX_CONFIG_BYTES,
    About,
    Count,
    ModelConfig,
    ReadConfig,
    Text,
    Word,
)


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
    created_at: Word | None = None
    authors: list[Text] | None = None
    family: Text | None = None
    name: Text | None = None
    doc_url: Text | None = None
    source_url: Text | None = None
    datasets_url: list[Text] | None = None
    version: Text | None = None
    revision: Text | None = None
    vendor: Text | None = None
    licenses: list[Text] | None = None
    title: Text | None = None
    description: Text | None = None


class _PackCapabilities(msgspec.Struct, omit_defaults=True, rename="camel"):
    input_types: list[Word] | None = None
    output_types: list[Word] | None = None
    reasoning: bool | None = None
    tool_usage: bool | None = None


class _PackInner(msgspec.Struct, omit_defaults=True, rename="camel"):
    architecture: Word | None = None
    format: Word | None = None
    param_size: Word | None = None
    precision: Word | None = None
    quantization: Word | None = None
    capabilities: _PackCapabilities | None = None


class _PackFiles(msgspec.Struct, rename="camel"):
    type: str
    diff_ids: list[str]


class _Pack(msgspec.Struct, omit_defaults=True):
    """`modelfs` repeats the layers' digests; the manifest is what counts."""

    descriptor: _PackDescriptor | None = None
    config: _PackInner | None = None
    modelfs: _PackFiles | None = None


def read(content: bytes, what: str) -> ReadConfig:
    """Raises ManifestInvalid."""
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


def render(facts: ModelConfig, layers: tuple[Digest, ...]) -> bytes:
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


# ── facts.json ──────────────────────────────────────────────────────────────────────────────────


class _Extras(msgspec.Struct, omit_defaults=True):
    context_length: Count | None = None
    embedding_length: Count | None = None
    families: list[Word] | None = None
    capabilities: list[Word] | None = None
    renderer: Word | None = None
    parser: Word | None = None
    requires: Word | None = None


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
