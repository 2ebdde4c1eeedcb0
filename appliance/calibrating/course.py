"""The course of a calibration: axis after axis, each from the best of those before, all within the time.

    first look ─► threads ─► ubatch ─► flash attention ─► layout ─► KV cache ─► load ─► power modes

A generator, pure: it yields orders and is sent what came of them, so a test can be the board. Each axis may
use the time up to its own share; what one leaves, the next ones have.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from appliance.calibrating.axes import (
    SHARES,
    default_label,
    flash_setups,
    layout_setups,
    load_setups,
    power_setups,
    thread_counts,
    thread_setups,
    ubatch_setups,
)
from appliance.calibrating.cache_course import cache_course
from appliance.calibrating.contest import Contest, Measured, contest
from appliance.calibrating.pieces import FIRST_TOKENS, Pieces, pieces_for
from appliance.calibrating.values import (
    Axis,
    AxisFound,
    CachePrices,
    Choice,
    Findings,
    Order,
    Setup,
    Told,
)
from appliance.calibrating.verdict import compared
from appliance.errors import EngineFault
from appliance.wire.calibrate import Kind, Piece, Taken

MOST_OTHERS: Final = 0.2
"""Share of all cores. When others compute more than that, what is best (above all: how many threads) is their
doing, and it would be served so when they are gone.
"""
_BORROWED: Final = 0.2
LEAST_LOAD_GAIN_S: Final = 0.25
"""Of a load: less is nobody's wait, and a mapped file is memory that can be had back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be measured."""

    setup: Setup
    """As the model is served without a calibration; its `n_threads` 0: chosen."""
    limit_s: float
    usable_cores: int
    """Big cores that this process may use."""
    has_own_kernels: bool
    """There are ours for this chip, and the configuration wants them."""
    settled: frozenset[Axis] = frozenset()
    """What the operator or the model has set: it is not measured."""
    power_modes: Mapping[int, str] = field(default_factory=dict)
    """Names by number; empty: they are left alone."""
    power_mode: int | None = None
    """The one that the board is in."""
    power_why_not: str = ""

    def until_s(self, axis: Axis, *, begun_s: float = 0.0) -> float:
        """When the axis ends; the axes share what the first look has left. Without power modes their share is
        everybody's.
        """
        last = Axis.POWER if self.power_modes else Axis.LOAD
        share = min(1.0, SHARES[axis] / SHARES[last]) * SHARES[Axis.POWER]
        return begun_s + max(0.0, self.limit_s - begun_s) * share


class _Course:
    """What is known so far."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.best = wish.setup
        self.axes: list[AxisFound] = []
        self.choice = Choice()
        self.cache: CachePrices | None = None
        self.ubatch: tuple[tuple[int, float], ...] = ()
        self.spent_s = self.begun_s = 0.0
        """Now, and when the first look was over."""
        self.others: list[tuple[float, float]] = []
        """(seconds, share)."""

    def until_s(self, axis: Axis) -> float:
        return self.wish.until_s(axis, begun_s=self.begun_s)

    def most_s(self, axis: Axis) -> float:
        """An axis that has not its least rounds may take from those behind it: they matter less."""
        more_s = _BORROWED * (self.wish.limit_s - self.begun_s)
        return min(self.until_s(Axis.POWER), self.until_s(axis) + more_s)

    @property
    def is_noisy(self) -> bool:
        """Others compute so much that nothing is to be learned for other hours."""
        share = self.others_share
        return share is not None and share > MOST_OTHERS

    @property
    def too_noisy(self) -> str:
        return (
            f"not decided: others computed {self.others_share or 0:.0%} of the time of all cores; "
            "try again when it is quiet"
        )

    def decided(self, found: AxisFound) -> AxisFound:
        """The default where others compute so much that the best of this hour is theirs."""
        if found.kept == found.default or not self.is_noisy:
            return found
        return replace(found, kept=found.default, text=self.too_noisy)

    @property
    def others_share(self) -> float | None:
        total = sum(seconds for seconds, _ in self.others)
        return round(sum(seconds * share for seconds, share in self.others) / total, 3) if total else None

    def skipped(self, axis: Axis, text: str, *, default: str | None = None) -> None:
        label = default or default_label(axis, self.best)
        self.axes.append(AxisFound(axis=axis, default=label, kept=label, text=text))


def course(wish: Wish) -> Generator[Order, Told, Findings]:
    """Raises EngineFault where the model cannot be measured even as it is served."""
    state = _Course(wish)
    steps = _steps(state)
    told: Told | None = None
    while True:
        try:
            order = next(steps) if told is None else steps.send(told)
        except StopIteration:
            break
        told = yield order
        state.spent_s = told.spent_s
        if told.taken is not None and told.taken.others_share is not None:
            state.others.append((told.taken.seconds, told.taken.others_share))
    return Findings(
        axes=tuple(state.axes),
        choice=state.choice,
        cache=state.cache,
        ubatch=state.ubatch,
        others_share=state.others_share,
        spent_s=round(state.spent_s, 1),
    )


def _steps(state: _Course) -> Generator[Order, Told, None]:
    first, pieces = yield from _first_look(state)
    state.begun_s = state.spent_s
    yield from _threads(state, pieces, first)
    yield from _ubatch(state, pieces)
    yield from _flash_attention(state, pieces)
    yield from _layout(state, pieces)
    yield from _cache(state, pieces)
    yield from _load(state, first)
    yield from _power(state, pieces)


def _first_look(state: _Course) -> Generator[Order, Told, tuple[Taken, Pieces]]:
    """How fast it is at all: pieces are made for it."""
    piece = Piece(kind=Kind.PREFILL, tokens=FIRST_TOKENS)
    order = Order(axis=Axis.THREADS, label="as served", test="prefill", setup=state.best, piece=piece)
    yield order  # it pages the weights in
    told = yield order
    if told.taken is None or told.per_s is None:
        raise EngineFault(reason=f"as it is served, nothing can be measured: {told.fault}")
    return told.taken, pieces_for(told.taken, per_s=told.per_s, limit_s=state.wish.limit_s)


def _compete(
    state: _Course, axis: Axis, setups: Mapping[str, Setup], pieces: Mapping[str, Piece]
) -> Generator[Order, Told, Measured]:
    measured = yield from contest(
        Contest(
            axis=axis,
            default=default_label(axis, state.best),
            setups=setups,
            pieces=pieces,
            until_s=state.until_s(axis),
            most_s=state.most_s(axis),
        ),
        spent_s=state.spent_s,
    )
    return measured


def _threads(state: _Course, pieces: Pieces, first: Taken) -> Generator[Order, Told, None]:
    axis = Axis.THREADS
    if axis in state.wish.settled:
        return state.skipped(axis, "set by the configuration or the model")
    # The default is measured by its number: 0 and what it stands for are one setup.
    state.best = _placed(state.best, n_threads=first.n_threads)
    counts = thread_counts(state.wish.usable_cores, default=first.n_threads)
    if len(counts) < 2:
        return state.skipped(axis, "one core")
    measured = yield from _compete(state, axis, thread_setups(state.best, counts), pieces.all)
    found = state.decided(measured.found)
    state.axes.append(found)
    counts_by_label = {f"threads {count}": count for count in counts}
    if found.kept != found.default:
        state.choice = replace(state.choice, n_threads=counts_by_label[found.kept])
    # With others on our cores the rest is measured as a runner would compute then: with fewer threads.
    measuring = _fastest(measured.found) if state.is_noisy else found.kept
    state.best = _placed(state.best, n_threads=counts_by_label[measuring])


def _fastest(found: AxisFound) -> str:
    """By what was seen, noise or not."""
    ratios = {row.label: row.ratio for row in found.rows if row.ratio is not None}
    ratios[found.default] = 1.0
    return max(sorted(ratios), key=lambda label: ratios[label])


def _ubatch(state: _Course, pieces: Pieces) -> Generator[Order, Told, None]:
    axis = Axis.UBATCH
    setups = ubatch_setups(state.best, longest=pieces.long_prefill.tokens)
    if len(setups) < 2:
        return state.skipped(axis, f"a prompt of {pieces.long_prefill.tokens} tokens takes its whole time")
    measured = yield from _compete(state, axis, setups, {"prefill": pieces.long_prefill})
    sizes = {label: setup.placement.n_ubatch for label, setup in setups.items()}
    state.ubatch = () if state.is_noisy else _ubatch_times(measured, sizes)
    found = state.decided(measured.found)
    if axis in state.wish.settled:
        found = replace(
            found, kept=found.default, text="measured for its price; set by configuration or model"
        )
    state.axes.append(found)
    if found.kept != found.default:
        state.best = _placed(state.best, n_ubatch=sizes[found.kept])
        state.choice = replace(state.choice, n_ubatch=sizes[found.kept])


def _flash_attention(state: _Course, pieces: Pieces) -> Generator[Order, Told, None]:
    axis = Axis.FLASH_ATTENTION
    if axis in state.wish.settled:
        return state.skipped(axis, "set by the configuration")
    if state.best.placement.type_v not in {"f16", "bf16", "f32"}:
        return state.skipped(axis, "a quantised KV cache needs it")
    setups = flash_setups(state.best)
    measured = yield from _compete(state, axis, setups, pieces.deep)
    found = state.decided(measured.found)
    state.axes.append(found)
    if found.kept != found.default:
        kept = setups[found.kept].placement.flash_attention
        state.best = _placed(state.best, flash_attention=kept)
        state.choice = replace(state.choice, flash_attention=kept)


def _layout(state: _Course, pieces: Pieces) -> Generator[Order, Told, None]:
    setups = layout_setups(state.best, has_own_kernels=state.wish.has_own_kernels)
    measured = yield from _compete(state, Axis.LAYOUT, setups, pieces.all)
    found = state.decided(measured.found)
    state.axes.append(found)
    if found.kept != found.default:
        before, state.best = state.best, setups[found.kept]
        if before.placement.repack != state.best.placement.repack:
            state.choice = replace(state.choice, repack=state.best.placement.repack)
        if before.own_kernels != state.best.own_kernels:
            state.choice = replace(state.choice, own_kernels=state.best.own_kernels)


def _cache(state: _Course, pieces: Pieces) -> Generator[Order, Told, None]:
    axis = Axis.CACHE
    placement = state.best.placement
    if (placement.type_k, placement.type_v) != ("f16", "f16"):
        return state.skipped(axis, "it is not f16")
    found, prices = yield from cache_course(
        state.best, pieces, until_s=state.until_s(axis), spent_s=state.spent_s
    )
    if prices is not None and state.is_noisy:
        found = replace(found, text=state.too_noisy)
    else:
        state.cache = prices
    state.axes.append(found)


def _load(state: _Course, first: Taken) -> Generator[Order, Told, None]:
    axis = Axis.LOAD
    placement, served = state.best.placement, state.wish.setup
    is_same_layout = (placement.repack, state.best.own_kernels) == (
        served.placement.repack,
        served.own_kernels,
    )
    if is_same_layout and placement.use_mmap and not first.is_mapped:
        return state.skipped(
            axis, "its weights are copied into another layout, so it is read", default="read"
        )
    setups = load_setups(state.best)
    measured = yield from _compete(state, axis, setups, {"load": Piece(kind=Kind.LOAD)})
    found = state.decided(measured.found)
    gain_s = _load_s(found, found.default) - _load_s(found, found.kept)
    if found.kept != found.default and gain_s < LEAST_LOAD_GAIN_S:
        text = f"{gain_s:.2f} s faster: too little to give up memory that can be had back"
        found = replace(found, kept=found.default, text=text)
    state.axes.append(found)
    if found.kept != found.default:
        state.best = setups[found.kept]
        state.choice = replace(state.choice, use_mmap=state.best.placement.use_mmap)


def _power(state: _Course, pieces: Pieces) -> Generator[Order, Told, None]:
    axis = Axis.POWER
    wish = state.wish
    if not wish.power_modes or wish.power_mode is None:
        if wish.power_why_not:
            state.skipped(axis, wish.power_why_not, default="as it is")
        return
    setups = power_setups(state.best, wish.power_modes)
    default = wish.power_modes[wish.power_mode]
    measured = yield from contest(
        Contest(
            axis=axis,
            default=default,
            setups=setups,
            pieces=pieces.all,
            until_s=state.until_s(axis),
            most_s=state.until_s(axis),
            rounds=2,
        ),
        spent_s=state.spent_s,
    )
    text = "shown only: the board is in the mode that it was in"
    state.axes.append(replace(measured.found, kept=default, text=text))


def _ubatch_times(measured: Measured, sizes: Mapping[str, int]) -> tuple[tuple[int, float], ...]:
    """Against the fastest; differences that are noise are none."""
    default = measured.found.default
    if len(measured.rounds) < 2:
        return ()
    ratios = {
        label: 1.0 if label == default else compared(default, label, measured.rounds).ratio for label in sizes
    }
    fastest = max(ratios.values())
    times = sorted((sizes[label], round(fastest / ratio, 2)) for label, ratio in ratios.items())
    return tuple((size, 1.0 if time < 1.05 else time) for size, time in times)


def _load_s(found: AxisFound, label: str) -> float:
    speeds: Sequence[float] = [row.per_s.get("load", 0.0) for row in found.rows if row.label == label]
    return 1.0 / speeds[0] if speeds and speeds[0] > 0 else 0.0


def _placed(setup: Setup, **changes: object) -> Setup:
    return replace(setup, placement=msgspec.structs.replace(setup.placement, **changes))
