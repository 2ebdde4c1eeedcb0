"""Other people's tools: what we push `skopeo` can copy, and what it pushes we can pull."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.copy import copy
from appliance.store.media_types import MODEL_CONFIG
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from tests.fakes.debian_registry import DebianRegistry
from tests.integration.store.network import door_to, make_model, opened

MODEL = make_model(2_000_000)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DebianRegistry]:
    with DebianRegistry(tmp_path) as registry:
        yield registry


def _skopeo(*arguments: str) -> None:
    subprocess.run(["skopeo", *arguments], check=True, capture_output=True, timeout=50)


def _pushed(registry: DebianRegistry, directory: Path) -> Reference:
    name = parse_reference(f"{registry.host}/alice/smol:q4")
    with door_to(registry) as door, opened(directory) as layout:
        for blob in MODEL.blobs:
            layout.put(blob, MODEL_CONFIG)
        layout.publish(name, MODEL.resolved)
        copy(layout, name, RegistryTarget(door, name))
    return name


def test_what_we_push_skopeo_can_copy(tmp_path: Path, registry: DebianRegistry) -> None:
    name = _pushed(registry, tmp_path / "a")
    _skopeo("copy", "--src-tls-verify=false", f"docker://{name.name}", f"oci:{tmp_path / 'out'}:q4")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [MODEL.resolved.descriptor.digest]
    blob = tmp_path / "out" / "blobs" / "sha256" / MODEL.weight.digest.removeprefix("sha256:")
    assert blob.read_bytes() == MODEL.weights


def test_what_skopeo_pushes_we_can_pull(tmp_path: Path, registry: DebianRegistry) -> None:
    name = _pushed(registry, tmp_path / "a")
    other = parse_reference(f"{registry.host}/bob/smol:new")
    _skopeo(
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{name.name}",
        f"docker://{other.name}",
    )
    with door_to(registry) as door, opened(tmp_path / "b") as layout:
        assert copy(RegistrySource(door, other), other, layout).content == MODEL.content
        assert layout.path(MODEL.weight.digest).read_bytes() == MODEL.weights
