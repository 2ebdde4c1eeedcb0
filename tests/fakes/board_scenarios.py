"""What happens to a simulated board over time: changes of its files at given seconds, and of its clock.

`Scenario` is driven by the test's own clock: nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tests.fakes.fake_board import FakeBoard

Change = Callable[[FakeBoard], None]

_ONLINE: Final = "sys/devices/system/cpu/online"
_NVPMODEL: Final = "var/lib/nvpmodel/status"


class Scenario:
    """Changes in the order of their seconds, each made once. Owned by the test."""

    def __init__(
        self,
        board: FakeBoard,
        changes: Iterable[tuple[float, Change]],
        *,
        clock_jumps: Iterable[tuple[float, float]] = (),
    ) -> None:
        """`clock_jumps`: at this second the wall clock tells this Unix time, and goes on from there."""
        self._board = board
        self._changes = sorted(changes, key=lambda change: change[0])
        self._jumps = sorted(clock_jumps)

    def advance(self, now_s: float) -> int:
        """Make all changes up to `now_s`; returns how many are left."""
        while self._changes and self._changes[0][0] <= now_s:
            _, change = self._changes.pop(0)
            change(self._board)
        return len(self._changes)

    def wall_clock_s(self, now_s: float) -> float:
        """Unix time at the second `now_s` of a monotonic clock: 1970 until something sets it."""
        at_s, told_s = max((jump for jump in self._jumps if jump[0] <= now_s), default=(0.0, 0.0))
        return told_s + now_s - at_s


def heat_ramp(board: FakeBoard, *, zone: str, alert: str, to_celsius: float, over_s: int) -> Scenario:
    """From 50 °C in steps of a second; the kernel throttles from `to_celsius` on, and stops 60 s later."""

    def at(celsius: float, state: int) -> Change:
        def change(board: FakeBoard) -> None:
            board.set_temperature(zone, celsius)
            board.write(f"{board.place(alert)}/cur_state", state)

        return change

    step = (to_celsius - 50.0) / over_s
    ramp = [(float(second), at(50.0 + step * second, int(second == over_s))) for second in range(over_s + 1)]
    return Scenario(board, [*ramp, (over_s + 60.0, at(to_celsius - 15.0, 0))])


def zone_vanishes(board: FakeBoard, *, zone: str, at_s: float, back_at_s: float) -> Scenario:
    """An engine is switched off, and on again: its sensor fails in between."""
    path = f"{board.place(zone)}/temp"
    return Scenario(
        board,
        [
            (at_s, lambda board: board.fail(path, "EAGAIN")),
            (back_at_s, lambda board: board.write(path, 48250)),
        ],
    )


def zone_is_unplugged(board: FakeBoard, *, zone: str, at_s: float) -> Scenario:
    """Its whole directory goes, as when a driver is unloaded."""
    place = board.place(zone)
    return Scenario(board, [(at_s, lambda board: board.remove(place))])


def fan_stalls(board: FakeBoard, *, at_s: float) -> Scenario:
    """A blocked fan of a Jetson: full power, no turn."""

    def change(board: FakeBoard) -> None:
        board.write(f"{board.place('pwmfan')}/pwm1", 255)
        board.write(f"{board.place('pwm_tach')}/rpm", 0)

    return Scenario(board, [(at_s, change)])


def brown_out(board: FakeBoard, *, word: str, at_s: float, over_at_s: float) -> Scenario:
    """A weak supply of a Raspberry Pi: bits 0 and 16, then 16 alone. `word`: where the firmware's word is."""
    alarm = f"{board.place('rpi_volt')}/in0_lcrit_alarm"

    def set_to(text: str, state: int) -> Change:
        def change(board: FakeBoard) -> None:
            board.write(word, text)
            board.write(alarm, state)

        return change

    return Scenario(board, [(at_s, set_to("10001", 1)), (over_at_s, set_to("10000", 0))])


def over_current(board: FakeBoard, *, at_s: float) -> Scenario:
    """The first channel of the first INA3221 is past its limit."""
    alarm = f"{board.place('ina3221')}/curr1_max_alarm"
    return Scenario(board, [(at_s, lambda board: board.write(alarm, 1))])


def power_mode(board: FakeBoard, *, number: int, online: str, limit_khz: int, at_s: float) -> Scenario:
    """nvpmodel: cores go off line, and the clock of the rest is bounded."""

    def change(board: FakeBoard) -> None:
        board.write(_NVPMODEL, f"pmode:{number:04d} fmode:fan_mode_quiet")
        board.write(_ONLINE, online)
        board.write("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", limit_khz)
        board.remove("sys/devices/system/cpu/cpufreq/policy4")

    return Scenario(board, [(at_s, change)])


def memory_collapses(board: FakeBoard, *, from_kib: int, to_kib: int, at_s: float, over_s: int) -> Scenario:
    """Another program takes it, in steps of a second."""

    def at(kib: int) -> Change:
        return lambda board: board.set_memory(MemAvailable=kib, MemFree=kib // 2)

    step = (from_kib - to_kib) // over_s
    return Scenario(board, [(at_s + second, at(from_kib - step * second)) for second in range(1, over_s + 1)])


def clock_is_set(board: FakeBoard, *, at_s: float, unix_s: float) -> Scenario:
    """A board without a battery: 1970 until a time server answers."""
    return Scenario(board, [], clock_jumps=[(at_s, unix_s)])
