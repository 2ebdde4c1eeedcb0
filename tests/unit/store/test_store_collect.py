"""Collection through the store: what it leaves, and what it says of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.daemon.store_health import store_health
from appliance.store.content import Progress, unreported
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator


def test_a_collection_without_a_grace_takes_nothing_of_a_verb_at_work(store: ModelStore) -> None:
    mine: list[Path] = []
    collected = []

    def collecting(_: Progress) -> None:
        blob = store.layout.put(f"step {len(mine)}".encode(), "text/plain")
        mine.append(store.layout.places.blob(blob.digest))
        collected.append(store.gc(grace_s=0))

    store.import_file(generator(), "tiny", collecting)

    assert collected
    assert sum(report.blobs for report in collected) == 0
    assert all(path.exists() for path in mine)
    assert store.list()[0].broken is None
    assert store.gc(grace_s=0).blobs == len(mine)


def test_a_collection_says_what_it_left(store: ModelStore) -> None:
    store.layout.put(bytes(10_000), "text/plain")
    found = store.gc()
    assert (found.blobs, found.grace_s, found.young.blobs) == (0, 3600.0, 1)
    assert found.young.last_in_s == pytest.approx(3600, abs=60)


def test_a_manifest_that_cannot_be_read_withholds_collection_and_is_told(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    store.copy("tiny", "other")
    store.remove("other")
    assert store.gc().withheld == ()
    assert store.gc_withheld() == ()
    (row,) = store.list()
    store.layout.quarantine(row.digest, "it is zeroed")
    store.layout.graph._children.clear()
    (told,) = store.gc().withheld
    assert told == "tiny:latest: it is zeroed"
    assert store.gc_withheld() == (told,)
    assert store_health(store).gc_withheld == (told,)
    store.import_file(generator(), "tiny", unreported)
    assert store.gc().withheld == ()
