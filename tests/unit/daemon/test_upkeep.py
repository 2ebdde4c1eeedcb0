from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import log
from appliance.daemon.store_health import store_health
from appliance.daemon.upkeep import (
    RETRY_S,
    SETTLE_S,
    STEP_S,
    Agenda,
    Clock,
    Upkeep,
    UpkeepPolicy,
    first_agenda,
)
from appliance.errors import MachineBusy, OutpostError, ShuttingDown, StoreFault
from appliance.store.content import unreported
from appliance.store.digest import digest_of
from appliance.store.reference import parse_reference
from appliance.store.scrub import Broken, ScrubReport
from appliance.store.verbs import Collected
from tests.fakes.model_files import generator, make_store

HOUR = 3600.0
POLICY = UpkeepPolicy(scrub_interval_s=168 * HOUR, scrub_bytes_per_s=1000, gc_interval_s=24 * HOUR)
NEVER = UpkeepPolicy(scrub_interval_s=0, scrub_bytes_per_s=1000, gc_interval_s=0)


# ── when what is due ────────────────────────────────────────────────────────────────────────────────


def test_a_round_that_was_broken_off_goes_on_soon() -> None:
    assert first_agenda(POLICY, now_s=100, scrub_age_s=None).scrub_at_s == 100 + STEP_S


def test_a_round_that_is_fresh_waits_for_the_rest_of_its_interval() -> None:
    assert first_agenda(POLICY, now_s=100, scrub_age_s=100 * HOUR).scrub_at_s == 100 + 68 * HOUR


def test_a_round_that_is_overdue_begins_soon() -> None:
    assert first_agenda(POLICY, now_s=100, scrub_age_s=1000 * HOUR).scrub_at_s == 100 + STEP_S


def test_what_is_switched_off_never_comes() -> None:
    agenda = first_agenda(NEVER, now_s=100, scrub_age_s=None)
    assert agenda == Agenda(scrub_at_s=None, gc_at_s=None, settle_at_s=100 + SETTLE_S)
    assert agenda.wait_s(100) == SETTLE_S


def test_the_nearer_of_both_is_waited_for_and_never_less_than_nothing() -> None:
    assert Agenda(scrub_at_s=110, gc_at_s=105, settle_at_s=120).wait_s(100) == 5
    assert Agenda(scrub_at_s=110, gc_at_s=None, settle_at_s=105).wait_s(100) == 5
    assert Agenda(scrub_at_s=110, gc_at_s=None, settle_at_s=130).wait_s(120) == 0


# ── the thread ──────────────────────────────────────────────────────────────────────────────────────


BROKEN = Broken(digest=digest_of(b"x"), reason="flipped", models=(parse_reference("tiny"),))


def piece(*broken: Broken, last: bool = False) -> ScrubReport:
    return ScrubReport(read_bytes=5000, blobs=1, broken=broken, round_finished=last)


class HastyClock(Clock):
    """Whoever waits has waited, until all is seen that a test wants to see."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.enough = threading.Event()

    def now_s(self) -> float:
        return self.at_s

    def wait(self, condition: threading.Condition, until: Callable[[], bool], timeout_s: float) -> None:
        if self.enough.is_set():
            condition.wait_for(until, 10)
        else:
            self.at_s += timeout_s


class FakeStore:
    """Tells when it was asked. `pieces`: what scrubs report, one after the other; then whole rounds in which
    nothing is found. `scrubbed` is set when they are used up.
    """

    def __init__(self) -> None:
        self.clock = HastyClock()
        self.collected = threading.Event()
        self.scrubbed = self.clock.enough
        self.fault: StoreFault | None = None
        self.pieces: list[ScrubReport | StoreFault] = []
        self.scrubbed_at_s: list[float] = []
        self.priorities: set[int] = set()
        self.withheld: tuple[str, ...] = ()

    def scrub_age_s(self) -> float | None:
        return None

    def settle(self) -> None:
        pass

    def scrub_step(self, budget_bytes: int) -> ScrubReport:
        assert budget_bytes == 1000 * STEP_S
        self.scrubbed_at_s.append(self.clock.at_s)
        self.priorities.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        if not self.pieces:
            self.scrubbed.set()
            return piece(last=True)
        told = self.pieces.pop(0)
        if isinstance(told, StoreFault):
            raise told
        return told

    def gc(self, *, dry_run: bool = False) -> Collected:
        assert not dry_run
        self.collected.set()
        if self.fault is not None:
            raise self.fault
        return Collected(blobs=1, size_bytes=10, withheld=self.withheld)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def started() -> Iterator[Callable[[Upkeep], Upkeep]]:
    running: list[Upkeep] = []

    def start(upkeep: Upkeep) -> Upkeep:
        upkeep.start()
        running.append(upkeep)
        return upkeep

    yield start
    for upkeep in running:
        upkeep.stop()


def nothing() -> None:
    pass


def test_what_was_released_is_collected_at_once(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    begun = threading.Event()
    upkeep = started(Upkeep(store, POLICY, begin=begun.set, on_broken=nothing))
    assert begun.wait(5)
    assert not store.collected.is_set()
    upkeep.released()
    assert store.collected.wait(5)


def test_nothing_is_collected_where_collection_is_switched_off(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    begun = threading.Event()
    upkeep = started(Upkeep(store, NEVER, begin=begun.set, on_broken=nothing))
    assert begun.wait(5)
    upkeep.released()
    upkeep.stop()
    assert not store.collected.is_set()


def test_a_fault_of_the_disk_does_not_end_the_thread(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    store.fault = StoreFault(path="/x", reason="input/output error")
    upkeep = started(Upkeep(store, POLICY, begin=nothing, on_broken=nothing))
    upkeep.released()
    assert store.collected.wait(5)
    store.collected.clear()
    store.fault = None
    upkeep.released()
    assert store.collected.wait(5)


def test_a_beginning_that_fails_is_logged_and_the_rest_goes_on(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    def fail() -> None:
        raise StoreFault(path="/x", reason="read-only")

    upkeep = started(Upkeep(store, POLICY, begin=fail, on_broken=nothing))
    upkeep.released()
    assert store.collected.wait(5)


@pytest.mark.usefixtures("put_back_logging")
def test_a_collection_that_is_withheld_is_a_warning(
    store: FakeStore, started: Callable[[Upkeep], Upkeep], capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(level="warning", form="json")
    store.withheld = ("tiny:latest: it is zeroed",)
    upkeep = started(Upkeep(store, POLICY, begin=nothing, on_broken=nothing))
    upkeep.released()
    assert store.collected.wait(5)
    upkeep.stop()
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "withheld" in line]
    assert json.loads(told)["unreadable"] == ["tiny:latest: it is zeroed"]


# ── the scrub ───────────────────────────────────────────────────────────────────────────────────────

SCRUBBING = UpkeepPolicy(scrub_interval_s=1000, scrub_bytes_per_s=1000, gc_interval_s=0)


def test_a_scrub_goes_on_piece_by_piece_and_then_waits_for_its_interval(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    store.pieces = [piece(), piece(last=True)]
    started(Upkeep(store, SCRUBBING, begin=nothing, on_broken=nothing, clock=store.clock))
    assert store.scrubbed.wait(5)
    assert store.scrubbed_at_s == [STEP_S, 2 * STEP_S, 2 * STEP_S + 1000]


def test_what_a_scrub_finds_broken_is_told_before_the_next_piece(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    store.pieces = [piece(), piece(BROKEN), piece(last=True)]
    left: list[int] = []
    upkeep = Upkeep(
        store,
        SCRUBBING,
        begin=nothing,
        on_broken=lambda: left.append(len(store.pieces)),
        clock=store.clock,
    )
    started(upkeep)
    assert store.scrubbed.wait(5)
    assert left == [1]


def test_a_telling_that_fails_ends_no_scrub(store: FakeStore, started: Callable[[Upkeep], Upkeep]) -> None:
    def fail() -> None:
        raise StoreFault(path="/x", reason="input/output error")

    store.pieces = [piece(BROKEN), piece(last=True)]
    started(Upkeep(store, SCRUBBING, begin=nothing, on_broken=fail, clock=store.clock))
    assert store.scrubbed.wait(5)
    assert store.scrubbed_at_s[:2] == [STEP_S, STEP_S + RETRY_S]


def test_a_scrub_that_fails_is_tried_again_after_a_pause(
    store: FakeStore, started: Callable[[Upkeep], Upkeep]
) -> None:
    store.pieces = [StoreFault(path="/x", reason="too many open files"), piece(last=True)]
    started(Upkeep(store, SCRUBBING, begin=nothing, on_broken=nothing, clock=store.clock))
    assert store.scrubbed.wait(5)
    assert store.scrubbed_at_s[:2] == [STEP_S, STEP_S + RETRY_S]


def test_a_scrub_gives_way_to_everybody_else(store: FakeStore, started: Callable[[Upkeep], Upkeep]) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    started(Upkeep(store, SCRUBBING, begin=nothing, on_broken=nothing, clock=store.clock))
    assert store.scrubbed.wait(5)
    assert store.priorities == {19}
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


# ── health ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_health_of_a_store_names_its_broken_models_and_its_room(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.import_file(generator(), "tiny", unreported)
    well = store_health(store)
    assert (well.models, well.broken, well.floor_bytes) == (1, (), 0)
    assert well.free_bytes
    weights = max(store.layout.places.blobs.iterdir(), key=lambda path: path.stat().st_size)
    store.layout.quarantine(digest_of(weights.read_bytes()), "it is zeroed")
    (broken,) = store_health(store).broken
    assert broken.name == "tiny:latest"
    assert "zeroed" in broken.reason
    store.close()


def test_the_health_of_a_store_whose_index_is_lost_says_what_to_do(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.import_file(generator(), "tiny", unreported)
    store.layout.places.index.write_bytes(bytes(500))
    told = store_health(store)
    assert (told.models, told.broken, told.gc_withheld) == (0, (), ())
    assert told.free_bytes
    assert "outpost verify --rebuild-index" in str(told.fault)
    assert store.rebuild_index() is not None
    assert store_health(store).fault is None
    store.close()


# ── models that may be faster ───────────────────────────────────────────────────────────────────────


class FakeOptimizer:
    """Tells what it was told to, then that there is nothing more."""

    def __init__(self, store: FakeStore, *told: bool | OutpostError) -> None:
        self._store = store
        self._told = list(told)
        self.asked_at_s: list[float] = []
        self.is_asked = threading.Event()

    def __call__(self) -> bool:
        self.asked_at_s.append(self._store.clock.at_s)
        told = self._told.pop(0) if self._told else False
        if not self._told:
            self.is_asked.set()
        if isinstance(told, OutpostError):
            raise told
        return told


@pytest.mark.parametrize(
    ("told", "asked_at_s"),
    [
        ((True, True, False), [60, 120, 180]),
        ((False,), [60]),
        ((MachineBusy(waited_s=5.0, retry_after_s=600.0), False), [60, 660]),
        ((ShuttingDown(),), [60]),
    ],
)
def test_models_are_made_faster_one_after_the_other_until_there_are_no_more(
    store: FakeStore,
    started: Callable[[Upkeep], Upkeep],
    told: tuple[bool | OutpostError, ...],
    asked_at_s: list[float],
) -> None:
    optimizer = FakeOptimizer(store, *told)
    store.clock.enough.clear()
    upkeep = Upkeep(store, NEVER, begin=nothing, on_broken=nothing, optimize=optimizer, clock=store.clock)
    started(upkeep)
    assert optimizer.is_asked.wait(5)
    store.clock.enough.set()
    upkeep.stop()
    assert optimizer.asked_at_s == asked_at_s


def test_a_model_that_came_is_looked_at_too(store: FakeStore, started: Callable[[Upkeep], Upkeep]) -> None:
    optimizer = FakeOptimizer(store, False, False)
    upkeep = started(
        Upkeep(store, NEVER, begin=nothing, on_broken=nothing, optimize=optimizer, clock=store.clock)
    )
    deadline_s = 5.0
    while not optimizer.asked_at_s and deadline_s > 0:
        optimizer.is_asked.wait(0.01)
        deadline_s -= 0.01
    upkeep.released()
    assert optimizer.is_asked.wait(5)
    store.clock.enough.set()


def test_nothing_is_made_faster_where_that_is_not_wanted() -> None:
    assert Agenda(scrub_at_s=None, gc_at_s=None, settle_at_s=5).optimize_at_s is None
