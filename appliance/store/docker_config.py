"""Docker Model Runner's config of a model: {config, descriptor, rootfs} as its code writes it, {config,
descriptor, files} as its specification says. The files are the manifest's layers and not read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from appliance.store import strict_json
from appliance.store.model_config import MAX_CONFIG_BYTES, About, ModelConfig, ReadConfig, Word


class _DockerInner(msgspec.Struct):
    format: Word | None = None
    quantization: Word | None = None
    parameters: Word | None = None
    architecture: Word | None = None
    gguf: dict[str, Any] | None = None
    context_size: Annotated[int, msgspec.Meta(ge=-1, le=1 << 31)] | None = None


class _DockerDescriptor(msgspec.Struct, rename={"created_at": "createdAt"}):
    created: Word | None = None
    created_at: Word | None = None


class _Docker(msgspec.Struct):
    config: _DockerInner
    descriptor: _DockerDescriptor | None = None


def read(content: bytes, what: str) -> ReadConfig:
    """Raises ManifestInvalid."""
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
