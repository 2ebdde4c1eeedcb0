from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import (
    ClientGone,
    InsufficientSpace,
    InvalidRequest,
    MachineBusy,
    ModelNotFound,
    Unsupported,
)
from appliance.store.content import Progress, unreported
from appliance.store.store import ModelStore
from appliance.store.verbs import OptimizeWish
from tests.fakes.model_files import Changes, generator
from tests.fakes.optimizing import HERE, SLOW, FakeTools, judged
from tests.unit.store.optimize_desk import PLAIN, blobs, leftovers, link, opened, spec


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


# ── refusals and faults ─────────────────────────────────────────────────────────────────────────────


def test_an_unknown_type_is_refused_with_the_list(store: ModelStore) -> None:
    with pytest.raises(InvalidRequest, match=r"'q9' is not one of f32, f16"):
        store.optimize("tiny", unreported, wish=OptimizeWish(kinds=("q9",)))


def test_nine_types_are_too_many(store: ModelStore) -> None:
    with pytest.raises(InvalidRequest, match="9 types, at most 8"):
        store.optimize("tiny", unreported, wish=OptimizeWish(kinds=("q8_0",) * 9))


def test_a_model_that_is_not_there_is_named(store: ModelStore) -> None:
    with pytest.raises(ModelNotFound):
        store.optimize("none", unreported, wish=PLAIN)
    with pytest.raises(ModelNotFound):
        store.unoptimize("none")


def test_a_process_without_llama_cpp_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path, None)
    store.import_file(generator(), "tiny", unreported)
    with pytest.raises(Unsupported):
        store.optimize("tiny", unreported, wish=PLAIN)
    store.close()


@pytest.mark.parametrize("word", ["reading", "quantizing", "loading", "comparing", "storing", "writing"])
def test_a_cancel_leaves_nothing(store: ModelStore, word: str) -> None:
    whole = blobs(store)

    def report(progress: Progress) -> None:
        if progress.status.startswith(word):
            raise ClientGone

    with pytest.raises(ClientGone):
        store.optimize("tiny", report, wish=PLAIN)
    assert leftovers(store) == []
    assert link(store) is None
    assert spec(store).paths[0].read_bytes() == generator().read_bytes()
    store.gc(grace_s=0)
    assert blobs(store) == whole


@pytest.mark.parametrize(
    "fault",
    [
        InsufficientSpace(needed_bytes=1, available_bytes=0, floor_bytes=0, directory="d"),
        MachineBusy(waited_s=600.0),
        InvalidRequest(reason="generates no text", param="name"),
    ],
)
def test_what_is_no_candidates_fault_ends_the_verb_and_leaves_nothing(
    store: ModelStore, tools: FakeTools, fault: Exception
) -> None:
    tools.verdicts = {"q8_0": fault}
    with pytest.raises(type(fault)):
        store.optimize("tiny", unreported, wish=PLAIN)
    assert leftovers(store) == []
    assert link(store) is None


def test_a_name_that_comes_to_stand_for_another_model_meanwhile_is_left_alone(
    store: ModelStore, tools: FakeTools
) -> None:
    def report(progress: Progress) -> None:
        if progress.status.startswith("comparing") and not tools.duels[1:]:
            store.create("tiny", "FROM tiny\nSYSTEM be brief\n", unreported)

    with pytest.raises(InvalidRequest, match="stands for another model by now"):
        store.optimize("tiny", report, wish=PLAIN)
    assert link(store) is None
    assert spec(store).system == "be brief"


# ── by itself ───────────────────────────────────────────────────────────────────────────────────────


def test_by_itself_each_model_that_may_be_faster_is_measured_once(
    store: ModelStore, tools: FakeTools
) -> None:
    store.import_file(generator(seed=9), "zeta", unreported)
    tools.verdicts = {"q8_0": judged(SLOW)}
    done = [store.optimize_next(unreported) for _ in range(3)]
    assert [one.name if one else None for one in done] == ["tiny:latest", "zeta:latest", None]
    assert len(tools.duels) == 2
    tools.here = replace(HERE, build="newer")
    again = store.optimize_next(unreported)
    assert again is not None
    assert again.name == "tiny:latest"


def test_by_itself_a_model_that_cannot_be_judged_is_not_tried_again(
    store: ModelStore, tools: FakeTools
) -> None:
    tools.verdicts = {"q8_0": InvalidRequest(reason="generates no text")}
    assert store.optimize_next(unreported) is None
    assert store.optimize_next(unreported) is None
    assert len(tools.duels) == 1


def test_by_itself_a_busy_machine_is_told_and_a_cancel_is_one(store: ModelStore, tools: FakeTools) -> None:
    tools.verdicts = {"q8_0": MachineBusy(waited_s=5.0)}
    with pytest.raises(MachineBusy):
        store.optimize_next(unreported)
    tools.verdicts = {"q8_0": ClientGone()}
    with pytest.raises(ClientGone):
        store.optimize_next(unreported)
