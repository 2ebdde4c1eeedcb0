"""A store of Ollama's in a directory, laid out as its own program does: `manifests/HOST/NAMESPACE/MODEL/TAG`,
`blobs/sha256-HEX`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from appliance.store.digest import Digest, digest_of, hex_of

LIBRARY = "registry.ollama.ai/library"
TEMPLATE = b"{{ .System }} {{ .Prompt }}"
PARAMS = b'{"stop":["<|im_end|>"],"temperature":0.5}'
CONFIG = b'{"model_format":"gguf","model_family":"llama","model_type":"135M","file_type":"Q4_1"}'


class OllamaModels:
    """Owned by the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "manifests").mkdir(parents=True)
        (root / "blobs").mkdir()

    def put(self, content: bytes) -> Digest:
        digest = digest_of(content)
        self.blob(digest).write_bytes(content)
        return digest

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / f"sha256-{hex_of(digest)}"

    def manifest(self, name: str) -> Path:
        """Of `host/namespace/model:tag`."""
        path, _, tag = name.rpartition(":")
        return self.root / "manifests" / path / tag

    def add(self, name: str, weights: bytes, *, system: bytes = b"") -> Path:
        """A model of these weights; returns where its manifest lies."""
        layers = [("model", weights), ("template", TEMPLATE), ("params", PARAMS)]
        layers += [("system", system)] if system else []
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self._layer("application/vnd.docker.container.image.v1+json", CONFIG),
            "layers": [self._layer(f"application/vnd.ollama.image.{kind}", text) for kind, text in layers],
        }
        return self.write(name, json.dumps(document).encode())

    def write(self, name: str, content: bytes) -> Path:
        path = self.manifest(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _layer(self, media_type: str, content: bytes) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": self.put(content), "size": len(content)}
