"""Boards that heat: a first-order model, what its sensors tell, and the files in which a kernel shows it.

    C dT/dt = P - (T - ambient) / R          P = idle + (full - idle) x activity

R and C are chosen so that each board would pass its limit at full load. Figures are of the size that is told
of such boards with a small heat sink; they are no measurement of any.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance.hardware.power import PowerReading
from appliance.hardware.thermal_zones import CoolingDevice, ThermalReading, Trip, Zone
from appliance.thermal.governor import Governor
from appliance.thermal.values import Cooling, HeatPolicy, Look

NO_POWER = PowerReading(
    rails=(),
    input_watts=None,
    energy_joules=None,
    under_voltage=None,
    frequency_capped=None,
    is_throttled=None,
    soft_limit=None,
    missing="no power sensor on this board",
)
STEP_S = 0.05
_LAG_S = 0.4
"""From a decision to the first step that follows it: a message, and the step under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    name: str
    kelvin_per_watt: float
    joules_per_kelvin: float
    idle_watts: float
    full_watts: float
    ambient_celsius: float
    trips: tuple[tuple[str, float], ...]
    limit_celsius: float
    """Where this board throttles."""
    resolution_celsius: float
    zone: str = "cpu-thermal"
    die_kelvin: float = 0.0
    """The die above its heat sink at full load, within some seconds."""
    is_raspberry_pi: bool = False

    @property
    def time_constant_s(self) -> float:
        return self.kelvin_per_watt * self.joules_per_kelvin

    @property
    def policy(self) -> HeatPolicy:
        return HeatPolicy(is_raspberry_pi=self.is_raspberry_pi)


PI4 = Board(
    name="Raspberry Pi 4",
    kelvin_per_watt=9.0,
    joules_per_kelvin=18.0,
    idle_watts=2.7,
    full_watts=6.5,
    ambient_celsius=32.0,
    trips=(),
    limit_celsius=80.0,
    resolution_celsius=0.487,
    is_raspberry_pi=True,
)
PI5 = Board(
    name="Raspberry Pi 5",
    kelvin_per_watt=6.5,
    joules_per_kelvin=25.0,
    idle_watts=3.0,
    full_watts=11.0,
    ambient_celsius=25.0,
    trips=(("active", 50.0), ("active", 60.0), ("active", 67.5), ("active", 75.0), ("critical", 110.0)),
    limit_celsius=80.0,
    resolution_celsius=0.55,
    is_raspberry_pi=True,
)
ORIN = Board(
    name="Orin Nano",
    kelvin_per_watt=3.4,
    joules_per_kelvin=70.0,
    idle_watts=5.0,
    full_watts=25.0,
    ambient_celsius=35.0,
    trips=(("active", 70.0), ("passive", 99.0), ("critical", 104.5)),
    limit_celsius=99.0,
    resolution_celsius=0.031,
)
RK3588 = Board(
    name="RK3588",
    kelvin_per_watt=7.0,
    joules_per_kelvin=22.0,
    idle_watts=2.5,
    full_watts=12.0,
    ambient_celsius=25.0,
    trips=(("passive", 85.0), ("critical", 115.0)),
    limit_celsius=85.0,
    resolution_celsius=0.923,
    zone="bigcore0-thermal",
)
X86 = Board(
    name="x86 mini PC",
    kelvin_per_watt=3.0,
    joules_per_kelvin=60.0,
    idle_watts=4.0,
    full_watts=25.0,
    ambient_celsius=25.0,
    trips=(("critical", 105.0),),
    limit_celsius=85.0,
    resolution_celsius=1.0,
    zone="x86_pkg_temp",
    die_kelvin=8.0,
)
LARGE = Board(
    name="a large heat sink",
    kelvin_per_watt=1.2,
    joules_per_kelvin=500.0,
    idle_watts=8.0,
    full_watts=60.0,
    ambient_celsius=35.0,
    trips=(("passive", 95.0), ("critical", 105.0)),
    limit_celsius=95.0,
    resolution_celsius=0.1,
)
BARE = Board(
    name="a bare chip",
    kelvin_per_watt=10.0,
    joules_per_kelvin=3.0,
    idle_watts=1.0,
    full_watts=8.0,
    ambient_celsius=25.0,
    trips=(("passive", 85.0), ("critical", 115.0)),
    limit_celsius=85.0,
    resolution_celsius=0.1,
)
BOARDS = (PI4, PI5, ORIN, RK3588, X86, LARGE, BARE)


@dataclass(slots=True)
class Body:
    """What is warm. Owned by who steps it; `board` may be replaced (a blocked fan, another ambient)."""

    board: Board
    celsius: float = math.nan
    """Of the heat sink."""
    die: float = 0.0

    def __post_init__(self) -> None:
        if math.isnan(self.celsius):
            self.celsius = self.board.ambient_celsius + self.board.kelvin_per_watt * self.board.idle_watts

    @property
    def chip_celsius(self) -> float:
        return self.celsius + self.die

    def step(self, activity: float, seconds: float) -> None:
        board = self.board
        watts = board.idle_watts + (board.full_watts - board.idle_watts) * activity
        lost = (self.celsius - board.ambient_celsius) / board.kelvin_per_watt
        self.celsius += seconds * (watts - lost) / board.joules_per_kelvin
        self.die += seconds * (board.die_kelvin * activity - self.die) / 1.5


# ── what the sensors tell ──────────────────────────────────────────────────────────────────────────────────


def zone_of(board: Board, celsius: float | None, *, name: str | None = None) -> Zone:
    trips = tuple(Trip(kind=kind, temperature_celsius=at, hysteresis_celsius=0.0) for kind, at in board.trips)
    kind = (name or board.zone).removesuffix("-thermal")
    return Zone(
        name=kind, temperature_celsius=celsius, missing=None if celsius is not None else "gone", trips=trips
    )


def look_at(
    at_s: float,
    *zones: Zone,
    power: PowerReading = NO_POWER,
    devices: tuple[CoolingDevice, ...] = (),
    busy: bool | None = True,
) -> Look:
    thermal = ThermalReading(zones=zones, cooling_devices=devices)
    return Look(at_s=at_s, thermal=thermal, power=power, is_busy=busy)


# ── an hour in a moment ────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True, kw_only=True)
class Run:
    """What came of one simulation."""

    work_s: float = 0.0
    """Seconds of full computing."""
    peak_celsius: float = -math.inf
    seconds: float = 0.0
    coolings: list[Cooling] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.work_s / self.seconds

    @property
    def changes(self) -> int:
        return self.coolings[-1].changes

    @property
    def duties(self) -> list[float]:
        return [cooling.limits.duty for cooling in self.coolings]

    def states(self) -> set[str]:
        return {cooling.state.value for cooling in self.coolings}


def governed(
    board: Board,
    *,
    minutes: float = 60.0,
    noise_celsius: float = 0.15,
    seed: int = 1,
    world: Callable[[float, Board], Board] = lambda _, board: board,
    load: Callable[[float], float] = lambda _: 1.0,
) -> Run:
    """The governor on this board. `world` changes the board over time, `load` says what is asked of it; held
    back is what the duty does not leave.
    """
    chance, body, governor = random.Random(seed), Body(board), Governor(board.policy)
    run, at_s, look_at_s, duty = Run(), 0.0, 0.0, 1.0
    on_the_way: list[tuple[float, float]] = []
    while at_s < 60 * minutes:
        body.board = world(at_s, board)
        if at_s >= look_at_s:
            told = body.chip_celsius + chance.gauss(0.0, noise_celsius)
            told = round(told / board.resolution_celsius) * board.resolution_celsius
            cooling = governor.update(look_at(at_s, zone_of(board, told), busy=load(at_s) > 0))
            look_at_s = at_s + cooling.next_look_s
            on_the_way.append((at_s + _LAG_S, cooling.limits.duty))
            run.coolings.append(cooling)
        while on_the_way and on_the_way[0][0] <= at_s:
            duty = on_the_way.pop(0)[1]
        activity = min(duty, load(at_s))
        _advance(run, body, activity)
        at_s += STEP_S
    return run


def constant(board: Board, activity: float, *, minutes: float = 60.0) -> Run:
    """The same pace all the time, without a governor."""
    run, body = Run(), Body(board)
    while run.seconds < 60 * minutes and body.chip_celsius < board.limit_celsius:
        _advance(run, body, activity)
    return run


def best_constant_rate(board: Board, *, minutes: float = 60.0, steps: int = 200) -> float:
    """The sweep: the highest of `steps` paces that stays below the limit for the whole time."""
    rates = [step / steps for step in range(1, steps + 1)]
    low, high = 0, len(rates)  # what is too hot stays so at every higher pace
    while low < high:
        middle = (low + high) // 2
        is_kept = constant(board, rates[middle], minutes=minutes).peak_celsius < board.limit_celsius
        low, high = (middle + 1, high) if is_kept else (low, middle)
    assert low > 0, f"{board.name} passes its limit at any pace"
    return rates[low - 1]


def _advance(run: Run, body: Body, activity: float) -> None:
    body.step(activity, STEP_S)
    run.work_s += activity * STEP_S
    run.seconds += STEP_S
    run.peak_celsius = max(run.peak_celsius, body.chip_celsius)


# ── files ──────────────────────────────────────────────────────────────────────────────────────────────────


class BoardFiles:
    """The board as a tree below `root`, as the kernel would show it. Files are replaced, never cut short."""

    def __init__(self, root: Path, board: Board) -> None:
        self.root = root
        self.board = board
        if board.is_raspberry_pi:
            self.write("sys/firmware/devicetree/base/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0")
        self.write(f"{self._zone}/type", f"{board.zone}\n")
        for number, (kind, celsius) in enumerate(board.trips):
            trip = f"{self._zone}/trip_point_{number}"
            self.write(f"{trip}_type", f"{kind}\n")
            self.write(f"{trip}_temp", f"{celsius * 1000:.0f}\n")
            self.write(f"{trip}_hyst", "0\n")
        self.throttles(False)
        self.tell(board.ambient_celsius)

    _zone = "sys/class/thermal/thermal_zone0"
    _alert = "sys/class/thermal/cooling_device0"

    def tell(self, celsius: float) -> None:
        step = self.board.resolution_celsius
        self.write(f"{self._zone}/temp", f"{round(celsius / step) * step * 1000:.0f}\n")

    def throttles(self, does: bool) -> None:
        """What the kernel does when a trip is passed: it says so."""
        self.write(f"{self._alert}/type", "cpu-throttle-alert\n")
        self.write(f"{self._alert}/max_state", "1\n")
        self.write(f"{self._alert}/cur_state", f"{int(does)}\n")

    def vanish(self) -> None:
        (self.root / self._zone / "temp").unlink()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.new")
        aside.write_text(text, encoding="ascii")
        aside.replace(file)


def hotter(kelvin: float, *, after_s: float) -> Callable[[float, Board], Board]:
    """An ambient that rises at once."""
    return lambda at_s, board: (
        replace(board, ambient_celsius=board.ambient_celsius + kelvin) if at_s >= after_s else board
    )


def blocked_fan(factor: float, *, after_s: float) -> Callable[[float, Board], Board]:
    return lambda at_s, board: (
        replace(board, kelvin_per_watt=board.kelvin_per_watt * factor) if at_s >= after_s else board
    )
