"""What a calibration would measure, told without measuring. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.calibrating.axes import (
    UBATCHES,
    default_label,
    flash_setups,
    layout_setups,
    load_setups,
    placed,
    power_setups,
    thread_counts,
    thread_setups,
    ubatch_setups,
)
from appliance.calibrating.cache_course import PLAIN, SMALL
from appliance.calibrating.course import Wish
from appliance.calibrating.values import Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAxis:
    axis: Axis
    setups: tuple[str, ...]
    """At most: what one look shows to make no difference is left out."""
    until_s: float
    """It ends by then."""
    text: str = ""


def outline(wish: Wish) -> tuple[PlannedAxis, ...]:
    """In the order of the course."""
    setup = wish.setup
    counts = thread_counts(wish.usable_cores, default=setup.placement.n_threads or wish.usable_cores)
    ubatches = ubatch_setups(setup, longest=max(UBATCHES))
    planned = [
        _planned(wish, Axis.THREADS, thread_setups(setup, counts)),
        _planned(wish, Axis.UBATCH, ubatches),
        _planned(wish, Axis.FLASH_ATTENTION, flash_setups(setup)),
        _planned(wish, Axis.LAYOUT, layout_setups(setup, has_own_kernels=wish.has_own_kernels)),
        _planned(wish, Axis.CACHE, (PLAIN, SMALL)),
        _planned(wish, Axis.LOAD, load_setups(placed(setup))),
    ]
    if wish.power_modes:
        planned.append(_planned(wish, Axis.POWER, power_setups(setup, wish.power_modes)))
    elif wish.power_why_not:
        label = default_label(Axis.POWER, setup)
        text = wish.power_why_not
        planned.append(
            PlannedAxis(axis=Axis.POWER, setups=(label,), until_s=wish.until_s(Axis.POWER), text=text)
        )
    return tuple(planned)


def _planned(wish: Wish, axis: Axis, labels: Iterable[str]) -> PlannedAxis:
    text = "set by the configuration or the model: it stays" if axis in wish.settled else ""
    return PlannedAxis(axis=axis, setups=tuple(labels), until_s=round(wish.until_s(axis), 1), text=text)
