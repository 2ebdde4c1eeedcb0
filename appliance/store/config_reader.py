"""The config of a manifest, by its media type.

Ollama     `application/vnd.docker.container.image.v1+json`        `ollama_config`
Docker     `application/vnd.docker.ai.model.config.v0.1+json` …    `docker_config`
ModelPack  `application/vnd.cncf.model.config.v1+json`             `modelpack_config`
others     nothing is known
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from appliance.errors import ManifestInvalid
from appliance.store import docker_config, modelpack_config, ollama_config
from appliance.store.descriptor import Descriptor
from appliance.store.media_types import DOCKER_CONFIG, DOCKER_MODEL_CONFIGS, MODEL_CONFIGS
from appliance.store.model_config import MAX_CONFIG_BYTES, Fetch, ModelConfig, ReadConfig

_READERS: Final[Mapping[str, Callable[[bytes, str], ReadConfig]]] = {
    DOCKER_CONFIG: ollama_config.read,
    **dict.fromkeys(DOCKER_MODEL_CONFIGS, docker_config.read),
    **dict.fromkeys(MODEL_CONFIGS, modelpack_config.read),
}


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
