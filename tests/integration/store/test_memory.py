"""A model of any size takes little memory on all its ways out, and in from where it was carried."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.content import unreported
from appliance.store.reference import parse_reference
from tests.fakes.copying_process import BIG
from tests.fakes.debian_registry import DebianRegistry
from tests.fakes.fake_models import FakeSource
from tests.integration.store.network import make_model, opened

pytestmark = pytest.mark.alone

SIZE_BYTES = 160_000_000
LIMIT_BYTES = 50_000_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one large model."""
    directory = tmp_path_factory.mktemp("memory") / "store"
    model, source = make_model(SIZE_BYTES), FakeSource(chunk=1 << 20)
    with opened(directory) as layout:
        for content, blob in zip(model.blobs, model.manifest.blobs, strict=True):
            source.contents[blob.digest] = content
            layout.take(blob, source, unreported)
        layout.publish(parse_reference(BIG), model.resolved)
    return directory


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with DebianRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def grown_bytes(verb: str, store: Path, where: str) -> int:
    command = [sys.executable, "-m", "tests.fakes.copying_process", verb, str(store), where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    print(f"{verb}: memory grew by {grown / 1e6:.1f} MB")
    return grown


def test_a_push_takes_little_memory(store: Path, registry: DebianRegistry) -> None:
    assert grown_bytes("push", store, f"{registry.host}/alice/big:v1") < LIMIT_BYTES


@pytest.mark.parametrize("target", ["stick", "big.tar"])
def test_an_export_and_its_import_take_little_memory(store: Path, tmp_path: Path, target: str) -> None:
    assert grown_bytes("export", store, str(tmp_path / target)) < LIMIT_BYTES
    assert grown_bytes("import", tmp_path / "other", str(tmp_path / target)) < LIMIT_BYTES
    with opened(tmp_path / "other") as layout:
        assert layout.path(make_model(SIZE_BYTES).weight.digest).stat().st_size == SIZE_BYTES
