"""Ollama's config of a model: flat, snake_case; with `rootfs` until August 2026, without it since."""

from __future__ import annotations

import msgspec

from appliance.errors import ManifestInvalid
from appliance.store import strict_json
from appliance.store.model_config import (
    MAX_CONFIG_BYTES,
    About,
    Count,
    ModelConfig,
    ReadConfig,
    Text,
    Word,
)


class _Ollama(msgspec.Struct):
    model_format: Word | None = None
    model_family: Word | None = None
    model_families: list[Word] | None = None
    model_type: Word | None = None
    file_type: Word | None = None
    renderer: Word | None = None
    parser: Word | None = None
    requires: Word | None = None
    remote_host: Word | None = None
    remote_model: Word | None = None
    capabilities: list[Word] | None = None
    context_length: Count | None = None
    embedding_length: Count | None = None
    base_name: Text | None = None


def read(content: bytes, what: str) -> ReadConfig:
    """Raises ManifestInvalid, also for a model that lives on another machine."""
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
