"""The media types of the four worlds we read, and of the one we write (CNCF ModelPack)."""

from __future__ import annotations

from typing import Final

# ── manifests and indexes ───────────────────────────────────────────────────────────────────────

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGE_MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES: Final = (OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST)
"""What a registry is asked for (Accept), the usual first."""

# ── configs ─────────────────────────────────────────────────────────────────────────────────────

OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
"""Ollama's models and container images alike; the layers tell them apart."""
DOCKER_MODEL_CONFIGS: Final = frozenset(
    {
        "application/vnd.docker.ai.model.config.v0.1+json",
        "application/vnd.docker.ai.model.config.v0.2+json",
    }
)

# ── CNCF ModelPack: what we write ───────────────────────────────────────────────────────────────

MODEL_MANIFEST: Final = "application/vnd.cncf.model.manifest.v1+json"
"""An artifactType, not a mediaType."""
MODEL_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
MODEL_WEIGHT: Final = "application/vnd.cncf.model.weight.v1.raw"
MODEL_WEIGHT_CONFIG: Final = "application/vnd.cncf.model.weight.config.v1.raw"
MODEL_DOC: Final = "application/vnd.cncf.model.doc.v1.raw"

MODELPACK_PREFIXES: Final = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
"""The second is what ModelPack was called before it went to the CNCF: read, never written."""
MODEL_CONFIGS: Final = frozenset(prefix + "config.v1+json" for prefix in MODELPACK_PREFIXES)

# ── ours ────────────────────────────────────────────────────────────────────────────────────────

DERIVED: Final = "application/vnd.outpost.derived.v1+json"
"""artifactType of a manifest that leads to a variant which was made here; it never leaves this store."""
DERIVED_RECORD: Final = "application/vnd.outpost.derived.record.v1+json"

# ── the others ──────────────────────────────────────────────────────────────────────────────────

OLLAMA_PREFIX: Final = "application/vnd.ollama.image."
DOCKER_AI_PREFIX: Final = "application/vnd.docker.ai."

# ── annotations ─────────────────────────────────────────────────────────────────────────────────

FILEPATH: Final = "org.cncf.model.filepath"
CNAI_FILEPATH: Final = "org.cnai.model.filepath"
TITLE: Final = "org.opencontainers.image.title"
REF_NAME: Final = "org.opencontainers.image.ref.name"
