"""Against the real registry of Debian: push, pull, and a pull that is killed ten times."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.config import RemoteSettings, StoreSettings
from appliance.errors import ModelNotFound
from appliance.store import homes
from appliance.store.artifact import compose
from appliance.store.content import unreported
from appliance.store.copy import copy
from appliance.store.descriptor import Resolved
from appliance.store.layout import Layout
from appliance.store.media_types import MODEL_CONFIG
from appliance.store.model import StoredModel
from appliance.store.opening import open_store
from appliance.store.reference import parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from appliance.store.store import ModelStore
from tests.fakes.debian_registry import DebianRegistry, SlowWire
from tests.fakes.model_files import FakeProbe, Told, generator
from tests.integration.store.network import Model, door_to, make_model, opened

STARTER = Path.home() / ".cache" / "outpost" / "models" / "SmolLM2-135M-Instruct-Q4_1.gguf"
BIG = 100_000_000


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DebianRegistry]:
    with DebianRegistry(tmp_path) as registry:
        yield registry


def _fill(layout: Layout, name: str, model: Model) -> None:
    for blob in model.blobs:
        layout.put(blob, MODEL_CONFIG)
    layout.publish(parse_reference(name), model.resolved)


def test_a_model_goes_there_and_comes_back(tmp_path: Path, registry: DebianRegistry) -> None:
    model = make_model()
    name = parse_reference(f"{registry.host}/Alice/Smol:q4")
    with door_to(registry) as door:
        with opened(tmp_path / "a") as layout:
            _fill(layout, name.name, model)
            copy(layout, name, RegistryTarget(door, name))
        with opened(tmp_path / "b") as layout:
            copied = copy(RegistrySource(door, name), name, layout)
            assert copied.content == model.content
            assert layout.path(model.weight.digest).read_bytes() == model.weights
            assert [reference.name for reference, _ in layout.references()] == [name.name]


def test_a_pinned_pull_needs_no_tag(tmp_path: Path, registry: DebianRegistry) -> None:
    model = make_model(10_000)
    name = parse_reference(f"{registry.host}/alice/smol:q4")
    pinned = name.with_tag("other").with_digest(model.resolved.descriptor.digest)
    with door_to(registry) as door, opened(tmp_path / "a") as layout:
        _fill(layout, name.name, model)
        copy(layout, name, RegistryTarget(door, name))
        with opened(tmp_path / "b") as other:
            assert copy(RegistrySource(door, pinned), pinned, other).content == model.content


def test_what_is_there_is_not_sent_twice_and_what_another_has_is_mounted(
    tmp_path: Path, registry: DebianRegistry
) -> None:
    model = make_model()
    first = parse_reference(f"{registry.host}/alice/smol:q4")
    second = parse_reference(f"{registry.host}/bob/smol:q4")
    with door_to(registry) as door, opened(tmp_path / "a") as layout:
        _fill(layout, first.name, model)
        copy(layout, first, RegistryTarget(door, first))
        told: list[str] = []
        mounts = dict.fromkeys((blob.digest for blob in model.manifest.blobs), "alice/smol")
        target = RegistryTarget(door, second, mounts=mounts)
        copy(layout, first, target, as_reference=second, report=lambda p: told.append(p.status))
        assert not [status for status in told if status.startswith("pushing")]
        assert RegistrySource(door, second).resolve(second).content == model.content


@contextmanager
def store_at(directory: Path, host: str) -> Iterator[ModelStore]:
    settings = StoreSettings(floor_fraction=0.0, hosts={host: RemoteSettings(insecure=True, token="")})
    store = open_store(directory, settings, probe=FakeProbe())
    try:
        yield store
    finally:
        store.close()


def is_mounted(store: ModelStore, name: str, target: str, wire: SlowWire) -> bool:
    """Push it; whether the bytes of its weights stayed here. What is pushed is whole in any case."""
    told, before = Told(), wire.sent
    store.push(name, told, target=target)
    sent, size = wire.sent - before, generator().stat().st_size
    assert any(status.startswith("mounted") for status in told.statuses) == (sent < size / 4)
    with store_at(store.layout.root.parent / "other", wire.host) as other:
        other.pull(target, unreported, as_name="again")
        assert other.show("again").listed.digest == store.show(name).listed.digest
    shutil.rmtree(store.layout.root.parent / "other")
    return sent < size / 4


def test_a_variant_of_a_model_that_was_pushed_or_pulled_is_pushed_without_its_weights(
    tmp_path: Path, registry: DebianRegistry
) -> None:
    with SlowWire(registry.port, bytes_per_s=100_000_000) as wire:
        with store_at(tmp_path / "a", wire.host) as first:
            first.import_file(generator(), "tiny", unreported)
            first.create("brief", "FROM tiny\nSYSTEM be brief", unreported)
            assert not is_mounted(first, "tiny", f"{wire.host}/alice/base", wire)
            assert is_mounted(first, "brief", f"{wire.host}/bob/brief:v1", wire)
        with store_at(tmp_path / "b", wire.host) as second:
            second.pull(f"{wire.host}/alice/base", unreported, as_name="mine")
            second.create("long", "FROM mine\nSYSTEM be long", unreported)
            assert is_mounted(second, "long", f"{wire.host}/carol/long", wire)


def test_what_the_other_repository_has_no_more_is_sent(tmp_path: Path, registry: DebianRegistry) -> None:
    """Debian's registry answers 202 then, with a session to send it."""
    with (
        SlowWire(registry.port, bytes_per_s=100_000_000) as wire,
        store_at(tmp_path / "a", wire.host) as store,
    ):
        store.import_file(generator(), "tiny", unreported)
        tiny = parse_reference("tiny")
        homes.note(store.layout, tiny, store.layout.lookup(tiny).digest, f"{wire.host}/alice/gone")
        assert not is_mounted(store, "tiny", f"{wire.host}/bob/tiny", wire)


def test_a_name_that_is_not_there_is_told_so(registry: DebianRegistry) -> None:
    name = parse_reference(f"{registry.host}/alice/nothing:q4")
    with door_to(registry) as door, pytest.raises(ModelNotFound):
        RegistrySource(door, name).resolve(name)


def test_a_pull_killed_ten_times_finishes_and_fetches_little_twice(
    tmp_path: Path, registry: DebianRegistry
) -> None:
    model = make_model(BIG)
    pushed = parse_reference(f"{registry.host}/alice/big:q4")
    with door_to(registry) as door, opened(tmp_path / "a") as layout:
        _fill(layout, pushed.name, model)
        copy(layout, pushed, RegistryTarget(door, pushed))
    shutil.rmtree(tmp_path / "a")
    chance = random.Random(7)
    with SlowWire(registry.port, bytes_per_s=25_000_000) as wire:
        name = f"{wire.host}/alice/big:q4"
        for _ in range(10):
            assert _pull_killed_after(chance.uniform(0.05, 0.35), name, tmp_path / "b")
        assert not _pull_killed_after(None, name, tmp_path / "b")
        fetched = wire.bytes
    print(f"fetched {fetched / BIG:.2f} of the bytes")
    assert fetched < 1.3 * BIG
    with opened(tmp_path / "b") as layout:
        assert layout.path(model.weight.digest).read_bytes() == model.weights


def test_a_pull_takes_little_memory(tmp_path: Path, registry: DebianRegistry) -> None:
    model = make_model(BIG)
    name = parse_reference(f"{registry.host}/alice/big:q4")
    with door_to(registry) as door, opened(tmp_path / "a") as layout:
        _fill(layout, name.name, model)
        copy(layout, name, RegistryTarget(door, name))
    command = [sys.executable, "-m", "tests.fakes.pulling_process", name.name, str(tmp_path / "b")]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    print(f"memory grew by {int(told[1]) / 1e6:.1f} MB")
    assert int(told[1]) < 50_000_000


def _pull_killed_after(seconds: float | None, name: str, directory: Path) -> bool:
    """Whether it was killed before it was done. The time counts from the moment it begins to pull."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.pulling_process", name, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout as told:
        assert told.readline() == "ready\n"
        try:
            return process.wait(seconds) != 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True


def test_the_starter_model_goes_there_and_comes_back(tmp_path: Path, registry: DebianRegistry) -> None:
    name = parse_reference(f"{registry.host}/library/smollm2:135m")
    with door_to(registry) as door:
        with opened(tmp_path / "a") as layout:
            weight = layout.adopt(STARTER)
            composed = compose(StoredModel(weights=(weight,)))
            for blob, content in composed.blobs:
                layout.put(content, blob.media_type)
            layout.publish(name, Resolved(descriptor=composed.descriptor, content=composed.content))
            copy(layout, name, RegistryTarget(door, name))
        with opened(tmp_path / "b") as layout:
            copy(RegistrySource(door, name), name, layout)
            assert layout.path(weight.digest).stat().st_size == STARTER.stat().st_size
