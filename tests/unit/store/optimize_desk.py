"""What the tests of `outpost optimize` look at."""

from __future__ import annotations

from pathlib import Path

from appliance.optimizing.verdict import Bounds
from appliance.store.derived_link import DERIVED_LINK
from appliance.store.optimize import Optimizing
from appliance.store.reference import parse_reference
from appliance.store.serving import ServeSpec
from appliance.store.store import ModelStore
from appliance.store.verbs import OptimizeWish
from tests.fakes.model_files import Changes, make_store
from tests.fakes.optimizing import FakeTools

PLAIN = OptimizeWish()


def opened(directory: Path, tools: FakeTools | None, changes: Changes | None = None) -> ModelStore:
    given = Optimizing(tools=tools, bounds=Bounds(), hints=True)
    return make_store(directory, optimizing=given, changes=changes)


def spec(store: ModelStore, name: str = "tiny:latest") -> ServeSpec:
    return next(one for one in store.serve_specs() if one.name == name)


def link(store: ModelStore, name: str = "tiny") -> str | None:
    return store.layout.find(parse_reference(name)).annotations.get(DERIVED_LINK)


def original(store: ModelStore) -> Path:
    named = store.layout.find(parse_reference("tiny"))
    below, _ = store.layout.graph.children(named)
    return store.layout.path(max(below, key=lambda blob: blob.size).digest)


def blobs(store: ModelStore) -> int:
    return len(list(store.layout.places.blobs.iterdir()))


def leftovers(store: ModelStore) -> list[str]:
    return [path.name for path in store.layout.places.ingest.iterdir()]
