"""Looks without the thread: the board's files in, measures out."""

from __future__ import annotations

from pathlib import Path

from appliance.hardware.root import Root
from appliance.thermal.loop import ThermalLoop, is_raspberry_pi
from appliance.thermal.values import Cooling, HeatPolicy
from tests.fakes.thermal_board import ORIN, PI4, BoardFiles


class Watch:
    """A loop over the files of a board, and what it told."""

    def __init__(self, root: Path) -> None:
        self.told: list[Cooling] = []
        self.loop = ThermalLoop(Root(root), HeatPolicy(), on_cooling=self.told.append, is_busy=lambda: True)


def test_a_cool_board_is_looked_at_every_second_and_told_to_nobody(tmp_path: Path) -> None:
    BoardFiles(tmp_path, ORIN).tell(50.0)
    watch = Watch(tmp_path)
    assert watch.loop.look() == 1.0
    assert watch.told == []
    assert watch.loop.cooling.state == "normal"
    assert watch.loop.cooling.zones[0].limit_celsius == 99.0
    assert watch.loop.looks == 1
    assert watch.loop.cpu_s > 0.0


def test_near_its_limit_it_is_looked_at_four_times_a_second(tmp_path: Path) -> None:
    BoardFiles(tmp_path, ORIN).tell(96.0)
    watch = Watch(tmp_path)
    assert watch.loop.look() == 0.25
    assert [cooling.state for cooling in watch.told] == ["paced"]


def test_measures_are_told_once_while_they_stay(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path, ORIN)
    files.tell(90.0)
    watch = Watch(tmp_path)
    for _ in range(5):
        watch.loop.look()
    assert len(watch.told) == 1
    files.throttles(True)
    watch.loop.look()
    assert [cooling.limits.admit for cooling in watch.told] == [True, False]


def test_a_machine_with_nothing_to_see_is_looked_at_every_ten_seconds(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert watch.loop.look() == 10.0
    assert watch.loop.cooling.reason == "no sensors"
    assert watch.told == []


def test_a_raspberry_pi_is_known_by_its_device_tree(tmp_path: Path) -> None:
    assert not is_raspberry_pi(Root(tmp_path))
    BoardFiles(tmp_path, PI4)
    assert is_raspberry_pi(Root(tmp_path))


def test_a_loop_that_never_started_stops(tmp_path: Path) -> None:
    Watch(tmp_path).loop.stop()
