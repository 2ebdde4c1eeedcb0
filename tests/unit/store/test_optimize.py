from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import (
    ModelInvalid,
    RunnerStartFailed,
)
from appliance.store.check import check
from appliance.store.content import unreported
from appliance.store.store import ModelStore
from appliance.store.verbs import OptimizeWish
from tests.fakes.model_files import Changes, Told, generator
from tests.fakes.optimizing import HERE, SLOW, FakeTools, judged
from tests.unit.store.optimize_desk import PLAIN, blobs, leftovers, link, opened, original, spec


@pytest.fixture
def tools() -> FakeTools:
    return FakeTools()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def store(tmp_path: Path, tools: FakeTools, changes: Changes) -> Iterator[ModelStore]:
    made = opened(tmp_path, tools, changes)
    made.import_file(generator(), "tiny", unreported)
    changes.count = 0
    yield made
    made.close()


# ── kept ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_faster_variant_is_served_under_the_name_and_the_original_stays(
    store: ModelStore, tools: FakeTools, changes: Changes
) -> None:
    before, digest = original(store), spec(store).digest
    done = store.optimize("tiny", unreported, wish=PLAIN)
    assert (done.name, done.record.kept, done.record.original) == ("tiny:latest", "Q8_0", "F32")
    assert tools.made == ["q8_0"]
    assert tools.duels[0].original == (before,)
    served = spec(store)
    assert served.digest == digest
    assert served.paths[0].read_bytes() == generator(seed=2).read_bytes()
    assert served.optimized == "Q8_0 variant of F32 (2.0x prefill, 1.1x decode, KL 0.0030)"
    assert before.read_bytes() == generator().read_bytes()
    assert changes.count == 1
    assert leftovers(store) == []


def test_list_counts_the_variants_bytes_and_show_has_the_figures(store: ModelStore) -> None:
    (before,) = store.list()
    assert before.hint == "F32 has no fast layout on this chip, Q8_0 has"
    store.optimize("tiny", unreported, wish=PLAIN)
    (row,) = store.list()
    assert row.hint is None
    assert row.optimized == "Q8_0 variant of F32 (2.0x prefill, 1.1x decode, KL 0.0030)"
    assert row.size_bytes - before.size_bytes > generator(seed=2).stat().st_size
    assert row.unique_bytes == row.size_bytes
    record = store.show("tiny").optimization
    assert record is not None
    assert record.tried[0].divergence is not None
    assert record.tried[0].divergence.mean == 0.003


def test_it_is_served_after_a_restart_too(store: ModelStore, tmp_path: Path, tools: FakeTools) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    store.close()
    assert check(tmp_path / "store") == []
    again = opened(tmp_path, tools)
    assert spec(again).paths[0].read_bytes() == generator(seed=2).read_bytes()
    again.close()


def test_gc_leaves_it_while_it_is_served_and_takes_it_when_it_is_undone(store: ModelStore) -> None:
    whole = blobs(store)
    store.optimize("tiny", unreported, wish=PLAIN)
    store.gc(grace_s=0)
    assert blobs(store) == whole + 3
    assert store.unoptimize("tiny")
    store.gc()
    assert blobs(store) == whole
    assert spec(store).paths[0].read_bytes() == generator().read_bytes()
    assert not store.unoptimize("tiny"), "there is nothing to undo any more"


def test_removing_the_model_removes_its_variant(store: ModelStore) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    store.remove("tiny")
    store.gc()
    assert blobs(store) == 0


def test_a_second_name_serves_the_same_variant(store: ModelStore) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    store.copy("tiny", "other")
    assert spec(store, "other:latest").paths == spec(store).paths
    store.unoptimize("other")
    assert spec(store).optimized is not None
    store.gc(grace_s=0)
    assert spec(store).paths[0].read_bytes() == generator(seed=2).read_bytes()


def test_what_goes_out_is_the_original(store: ModelStore, tmp_path: Path) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    store.export("tiny", tmp_path / "stick", unreported)
    other = opened(tmp_path / "other", FakeTools())
    other.import_file(tmp_path / "stick", None, unreported)
    assert spec(other).paths[0].read_bytes() == generator().read_bytes()
    assert link(other) is None
    assert spec(other).digest == spec(store).digest
    other.close()


def test_a_link_that_comes_from_outside_is_not_believed(store: ModelStore, tmp_path: Path) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    index = (store.layout.places.index).read_text()
    store.export("tiny", tmp_path / "stick", unreported)
    (tmp_path / "stick/index.json").write_text(index)
    other = opened(tmp_path / "other", FakeTools())
    other.import_file(tmp_path / "stick", None, unreported)
    assert link(other) is None
    other.close()


def test_measured_again_it_is_replaced_and_the_old_one_is_collected(
    store: ModelStore, tools: FakeTools
) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    whole = blobs(store)
    store.optimize("tiny", unreported, wish=PLAIN)
    store.gc()
    assert blobs(store) == whole
    assert spec(store).paths[0].read_bytes() == generator(seed=3).read_bytes()
    assert tools.duels[1].original[0].read_bytes() == generator().read_bytes()


def test_of_several_only_the_best_one_stays(store: ModelStore, tools: FakeTools) -> None:
    tools.verdicts = {"q4_0": judged(mean=0.5), "q5_0": judged(SLOW)}
    told = Told()
    done = store.optimize("tiny", told, wish=OptimizeWish(kinds=("q4_0", "Q8_0", "q5_0")))
    assert [one.reason for one in done.record.tried] == ["lossy", "kept", "not_faster"]
    assert spec(store).paths[0].read_bytes() == generator(seed=3).read_bytes()
    assert "Q4_0: KL divergence 0.5000, at most 0.01 is allowed" in told.statuses
    assert leftovers(store) == []


# ── not kept ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_faster_leaves_the_record_and_nothing_else(store: ModelStore, tools: FakeTools) -> None:
    tools.verdicts = {"q8_0": judged(SLOW)}
    whole = blobs(store)
    done = store.optimize("tiny", unreported, wish=PLAIN)
    assert done.record.kept is None
    store.gc(grace_s=0)
    assert blobs(store) == whole + 2
    assert spec(store).paths[0].read_bytes() == generator().read_bytes()
    (row,) = store.list()
    assert row.hint is None
    assert row.optimized == (
        "the original is served: Q8_0: 0.94x the original's speed, at least 1.1x is asked for"
    )


def test_a_dry_run_changes_nothing(store: ModelStore, changes: Changes) -> None:
    whole = blobs(store)
    done = store.optimize("tiny", unreported, wish=OptimizeWish(dry_run=True))
    assert done.dry_run
    assert done.record.kept == "Q8_0"
    assert (blobs(store), link(store), leftovers(store), changes.count) == (whole, None, [], 0)


def test_the_callers_bound_counts(store: ModelStore) -> None:
    done = store.optimize("tiny", unreported, wish=OptimizeWish(max_kl=0.001))
    assert (done.record.kept, done.record.max_kl) == (None, 0.001)


@pytest.mark.parametrize(
    ("available", "reason"),
    [
        (1000, "it needs .* bytes of memory, 1000 are available"),
        (300 << 20, "to compare it with the original takes"),
    ],
)
def test_what_does_not_fit_into_memory_is_not_even_made(
    store: ModelStore, tools: FakeTools, available: int, reason: str
) -> None:
    tools.available = available
    done = store.optimize("tiny", unreported, wish=PLAIN)
    assert tools.made == []
    assert done.record.tried[0].reason == "too_large"
    assert done.record.kept is None
    assert re.search(reason, done.record.tried[0].text)


@pytest.mark.parametrize(
    "fault", [ModelInvalid(model="tiny", reason="not finite"), RunnerStartFailed(model="tiny", reason="OOM")]
)
def test_a_variant_that_cannot_be_measured_is_told_and_the_next_is_tried(
    store: ModelStore, tools: FakeTools, fault: Exception
) -> None:
    tools.verdicts = {"q4_0": fault}
    done = store.optimize("tiny", unreported, wish=OptimizeWish(kinds=("q4_0", "q8_0")))
    assert [one.reason for one in done.record.tried] == ["failed", "kept"]


# ── stale, broken ───────────────────────────────────────────────────────────────────────────────────


def test_on_another_chip_or_with_another_build_the_original_is_served_and_that_is_told(
    store: ModelStore, tools: FakeTools
) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    tools.here = replace(HERE, build="llama.cpp ffffffffffff, no own kernels")
    served = spec(store)
    assert served.paths[0].read_bytes() == generator().read_bytes()
    assert served.optimized is not None
    assert served.optimized.startswith("the original is served, not the Q8_0 variant of F32")
    assert "measured with another build" in served.optimized
    tools.here = HERE
    assert spec(store).paths[0].read_bytes() == generator(seed=2).read_bytes()


def test_a_variant_whose_bytes_have_changed_is_not_worth_a_broken_model(store: ModelStore) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    path = spec(store).paths[0]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    served = spec(store)
    assert served.broken is None
    assert served.paths[0].read_bytes() == generator().read_bytes()
    assert store.list()[0].broken is None


def test_a_lost_manifest_of_the_variant_withholds_no_collection(store: ModelStore) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    digest = (link(store) or "").split()[0].removeprefix("sha256:")
    (store.layout.places.blobs / digest).unlink()
    assert spec(store).optimized is None
    assert spec(store).broken is None
    assert store.gc_withheld() == ()


def test_a_rebuilt_index_names_no_variant_as_a_model(store: ModelStore) -> None:
    store.optimize("tiny", unreported, wish=PLAIN)
    store.layout.places.index.write_bytes(b"{")
    assert store.rebuild_index() == ["registry.ollama.ai/library/tiny:latest"]
    assert spec(store).paths[0].read_bytes() == generator(seed=2).read_bytes()
