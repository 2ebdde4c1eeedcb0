"""The governor against a machine that gives and takes cores."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.threads import Reading, ThreadGovernor, choose_threads

WINDOW_S = ThreadGovernor.WINDOW_S


@dataclass(slots=True)
class Machine:
    """`cores` cores, of which `others` (may be a fraction) are used by other processes."""

    governor: ThreadGovernor
    cores: int
    now_s: float = 0.0
    computing_s: float = 0.0
    cpu_s: float = 0.0
    idle_s: float = 0.0
    changes: int = 0

    def window(self, others: float, *, computing: float = 1.0) -> int:
        """One window passes; returns the threads afterwards."""
        threads = self.governor.threads
        free = max(0.0, self.cores - others)
        # Above what is free, threads and others share each core evenly.
        ours = min(float(threads), free + max(0.0, threads - free) / 2)
        self.now_s += WINDOW_S
        self.computing_s += computing * WINDOW_S
        self.cpu_s += ours * computing * WINDOW_S
        self.idle_s += max(0.0, self.cores - others - ours * computing) * WINDOW_S
        after = self.governor.update(self.reading())
        self.changes += after != threads
        return after

    def reading(self) -> Reading:
        return Reading(wall_s=self.now_s, computing_s=self.computing_s, cpu_s=self.cpu_s, idle_s=self.idle_s)


def machine(cores: int, most: int | None = None) -> Machine:
    made = Machine(ThreadGovernor(most or cores), cores)
    made.governor.update(made.reading())
    return made


def test_a_busy_neighbour_lowers_the_threads_within_a_second() -> None:
    desk = machine(2)
    for _ in range(2):
        desk.window(1.0)
    assert desk.governor.threads == 1


def test_threads_come_back_when_the_neighbour_is_gone() -> None:
    desk = machine(2)
    for _ in range(5):
        desk.window(1.0)
    for _ in range(20):
        desk.window(0.0)
    assert desk.governor.threads == 2


def test_a_quiet_machine_is_used_as_a_whole() -> None:
    desk = machine(4)
    assert {desk.window(0.0) for _ in range(50)} == {4}


def test_a_neighbour_that_stays_is_not_fought() -> None:
    desk = machine(2)
    for _ in range(500):
        desk.window(1.0)
    assert desk.governor.threads == 1
    assert desk.changes == 1


def test_a_machine_that_waits_half_of_the_time_says_nothing_of_contention() -> None:
    desk = machine(2)
    for _ in range(20):
        desk.window(1.0, computing=0.5)
    assert desk.governor.threads == 2


def test_one_thread_stays_one() -> None:
    desk = machine(2, most=1)
    assert {desk.window(1.5) for _ in range(20)} == {1}


def test_without_a_reading_of_idle_time_threads_are_never_raised() -> None:
    governor = ThreadGovernor(2)
    governor.threads = 1
    for step in range(20):
        at_s = step * 1.0
        governor.update(Reading(wall_s=at_s, computing_s=at_s, cpu_s=at_s, idle_s=None))
    assert governor.threads == 1


def test_readings_that_come_too_soon_are_not_judged() -> None:
    governor = ThreadGovernor(2)
    governor.update(Reading(wall_s=0, computing_s=0, cpu_s=0, idle_s=0))
    governor.update(Reading(wall_s=WINDOW_S / 2, computing_s=WINDOW_S / 2, cpu_s=0.0, idle_s=0))
    assert governor.threads == 2


@pytest.mark.parametrize(("free", "threads"), [(5, 4), (4, 4), (3, 3), (1, 1), (0, 1), (-2, 1)])
@pytest.mark.parametrize("before", [1, 4])
def test_a_start_takes_the_cores_that_others_leave(free: int, threads: int, before: int) -> None:
    governor = ThreadGovernor(4)
    governor.threads = before
    assert governor.begin(1.0, free_cores=free) == threads


def test_a_stream_with_pauses_gets_its_thread_back() -> None:
    """Two cores, one thread that computes 80 % of the time: the other core is free."""
    governor = ThreadGovernor(2)
    governor.begin(0.0, free_cores=1)
    for window in range(6):
        at_s = window * WINDOW_S
        governor.update(Reading(wall_s=at_s, computing_s=0.8 * at_s, cpu_s=0.85 * at_s, idle_s=1.1 * at_s))
    assert governor.threads == 2


def test_a_start_that_saw_ghosts_is_soon_corrected() -> None:
    desk = machine(2)
    desk.governor.begin(desk.now_s, free_cores=1)
    for _ in range(3):
        desk.window(0.0)
    assert desk.governor.threads == 2


@given(
    cores=st.integers(2, 8),
    load=st.lists(st.floats(0, 8), min_size=1, max_size=300),
    computing=st.sampled_from([0.9, 1.0]),
)
def test_threads_stay_within_one_and_the_most(cores: int, load: list[float], computing: float) -> None:
    desk = machine(cores)
    for others in load:
        assert 1 <= desk.window(min(others, cores), computing=computing) <= cores


@given(cores=st.integers(2, 8), others=st.floats(0, 8))
def test_under_any_steady_load_the_threads_settle(cores: int, others: float) -> None:
    desk = machine(cores)
    for _ in range(400):
        desk.window(min(others, cores))
    settling, desk.changes = desk.changes, 0
    for _ in range(750):  # five minutes
        desk.window(min(others, cores))
    assert settling <= 60
    assert desk.changes <= 2 * 300 / 30 + 2, "more than one trial in half a minute"


@given(bursts=st.lists(st.integers(1, 12), min_size=40, max_size=80))
def test_a_neighbour_that_comes_and_goes_costs_few_changes(bursts: list[int]) -> None:
    desk = machine(2)
    windows = 0
    for number, length in enumerate(bursts):
        for _ in range(length):
            desk.window(1.0 if number % 2 else 0.0)
            windows += 1
    # A change down and one up for each burst is what the load itself asks for.
    assert desk.changes <= len(bursts) + 1


@pytest.mark.parametrize(
    ("usable", "big", "every", "threads"),
    [(2, 2, 2, 2), (1, 1, 1, 1), (4, 4, 4, 3), (4, 4, 8, 4), (8, 8, 8, 7), (1, 4, 4, 1), (3, 3, 3, 3)],
)
def test_the_daemon_keeps_a_core_where_there_are_enough(
    usable: int, big: int, every: int, threads: int
) -> None:
    assert choose_threads(usable_cores=usable, big_cores=big, all_cores=every) == threads


def test_at_rest_a_quiet_board_gives_all_threads_back() -> None:
    desk = machine(2)
    for _ in range(4):
        desk.window(1.0)
    assert desk.governor.threads == 1
    assert desk.window(1.0, computing=0.0) == 1
    assert desk.window(0.2, computing=0.0) == 2


def test_a_single_bad_window_changes_nothing() -> None:
    desk = machine(2)
    for _ in range(10):
        assert desk.window(1.0) == 2
        assert desk.window(0.0) == 2
