"""The one verb between every pair of source and target, indexes of variants, and two pulls at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.errors import ManifestInvalid, ModelInvalid, ModelNotFound
from appliance.store.content import Progress, Source, Target
from appliance.store.copy import copy
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest, Resolved
from appliance.store.digest import digest_of
from appliance.store.http import Door
from appliance.store.layout import Layout
from appliance.store.manifest import render_index
from appliance.store.media_types import MODEL_CONFIG, OCI_INDEX
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from tests.fakes.oci_registry_faults import FaultyRegistry
from tests.integration.store.network import Model, door_to, make_model, opened

MODEL = make_model(6_000_000)
SMALL = make_model(1_000_000, seed=2)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def door(registry: FaultyRegistry) -> Iterator[Door]:
    with door_to(registry) as door:
        yield door


@pytest.fixture
def name(registry: FaultyRegistry) -> Reference:
    return parse_reference(f"{registry.host}/alice/smol:q4")


def _index(*models: Model) -> Resolved:
    content = render_index(
        ImageIndex(media_type=OCI_INDEX, manifests=tuple(model.resolved.descriptor for model in models))
    )
    described = Descriptor(media_type=OCI_INDEX, digest=digest_of(content), size=len(content))
    return Resolved(descriptor=described, content=content)


def _fill(layout: Layout, name: Reference, *models: Model) -> None:
    for model in models:
        for blob in model.blobs:
            layout.put(blob, MODEL_CONFIG)
        layout.put(model.content, MODEL_CONFIG)
    layout.publish(name, models[0].resolved if len(models) == 1 else _index(*models))


@pytest.mark.parametrize("models", [(MODEL,), (MODEL, SMALL)], ids=["a manifest", "an index"])
@pytest.mark.parametrize("kind", ["layout", "registry"])
@pytest.mark.parametrize("to", ["layout", "registry"])
def test_every_source_goes_to_every_target(
    tmp_path: Path, name: Reference, door: Door, kind: str, to: str, models: tuple[Model, ...]
) -> None:
    there = parse_reference(f"{name.host}/bob/other:new")
    with ExitStack() as stack:
        first = stack.enter_context(opened(tmp_path / "a"))
        _fill(first, name, *models)
        source: Source = first
        if kind == "registry":
            copy(first, name, RegistryTarget(door, name))
            source = RegistrySource(door, name)
        target: Target = RegistryTarget(door, there)
        if to == "layout":
            target = stack.enter_context(opened(tmp_path / "b"))
        resolved = copy(source, name, target, as_reference=there)
        back = stack.enter_context(opened(tmp_path / "c"))
        copy(target if isinstance(target, Layout) else RegistrySource(door, there), there, back)
        assert back.resolve(there) == resolved
        for model in models:
            assert back.path(model.weight.digest).read_bytes() == model.weights


def test_of_an_index_only_the_chosen_variant_is_copied(tmp_path: Path, name: Reference, door: Door) -> None:
    with opened(tmp_path / "a") as first:
        _fill(first, name, MODEL, SMALL)
        copy(first, name, RegistryTarget(door, name))
    with opened(tmp_path / "b") as layout:
        copy(RegistrySource(door, name), name, layout, choose=lambda index, fetch: index.manifests[1])
        assert layout.resolve(name).content == SMALL.content
        with pytest.raises(ModelNotFound):
            layout.path(MODEL.weight.digest)


def test_an_index_inside_an_index_is_refused(
    tmp_path: Path, name: Reference, registry: FaultyRegistry
) -> None:
    inner = _index(MODEL, SMALL)
    content = render_index(ImageIndex(media_type=OCI_INDEX, manifests=(inner.descriptor,)))
    registry.add("alice/smol", "q4", content, [], OCI_INDEX)
    registry.add("alice/smol", "inner", inner.content, [], OCI_INDEX)
    with (
        door_to(registry) as door,
        opened(tmp_path) as layout,
        pytest.raises(ManifestInvalid, match="index inside"),
    ):
        copy(RegistrySource(door, name), name, layout)


def test_what_is_not_admitted_gets_no_name(
    tmp_path: Path, name: Reference, door: Door, registry: FaultyRegistry
) -> None:
    registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)

    def admit(manifest: Manifest) -> None:
        assert layout.path(manifest.layers[0].digest).exists()
        raise ModelInvalid(model=name.name, reason="no")

    with opened(tmp_path) as layout:
        with pytest.raises(ModelInvalid):
            copy(RegistrySource(door, name), name, layout, admit=admit)
        assert layout.references() == []


def test_progress_is_told_in_ollama_s_words_and_grows(
    tmp_path: Path, name: Reference, door: Door, registry: FaultyRegistry
) -> None:
    registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)
    told: list[Progress] = []
    with opened(tmp_path) as layout:
        copy(RegistrySource(door, name), name, layout, report=told.append)
    short = str(MODEL.weight.digest)[7:19]
    mine = [p for p in told if p.status == f"pulling {short}"]
    counts = [p.completed_bytes for p in mine]
    assert counts == sorted(counts, key=lambda count: count or 0)
    assert (counts[0], counts[-1], mine[-1].total_bytes) == (0, 6_000_000, 6_000_000)
    assert told[0].status == "pulling manifest"
    assert told[-1].status == "writing manifest"


def test_two_pulls_of_one_model_share_the_work(
    tmp_path: Path, name: Reference, door: Door, registry: FaultyRegistry
) -> None:
    registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)
    registry.knobs.chunk_delay_s = 0.002
    with opened(tmp_path) as layout:
        pulls = [
            threading.Thread(target=copy, args=(RegistrySource(door, name), name, layout)) for _ in range(2)
        ]
        for pull in pulls:
            pull.start()
        for pull in pulls:
            pull.join()
        assert layout.path(MODEL.weight.digest).read_bytes() == MODEL.weights
    assert registry.sent_bytes < 1.05 * len(MODEL.weights)


def test_a_pull_that_its_listener_stops_keeps_what_has_come(
    tmp_path: Path, name: Reference, door: Door, registry: FaultyRegistry
) -> None:
    registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)
    registry.knobs.chunk_delay_s = 0.01

    class EnoughError(Exception):
        pass

    def stop_half_way(progress: Progress) -> None:
        if (progress.completed_bytes or 0) > 3_000_000:
            raise EnoughError

    with opened(tmp_path) as layout:
        with pytest.raises(EnoughError):
            copy(RegistrySource(door, name), name, layout, report=stop_half_way)
        assert layout.references() == []
        before, registry.knobs.chunk_delay_s = registry.sent_bytes, 0.0
        copy(RegistrySource(door, name), name, layout)
        assert registry.sent_bytes - before < 3_500_000
        assert layout.path(MODEL.weight.digest).read_bytes() == MODEL.weights
