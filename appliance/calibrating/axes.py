"""Which setups are worth a measurement, by axis; and how much of the time each axis may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from appliance.calibrating.values import Axis, Setup

SHARES: Final = {
    Axis.THREADS: 0.20,
    Axis.UBATCH: 0.31,
    Axis.FLASH_ATTENTION: 0.41,
    Axis.LAYOUT: 0.56,
    Axis.CACHE: 0.72,
    Axis.LOAD: 0.78,
    Axis.POWER: 0.95,
}
"""Of the limit, at the end of the axis."""
UBATCHES: Final = (64, 128, 256, 512, 1024)
_FEW_CORES: Final = 6


def default_label(axis: Axis, setup: Setup) -> str:
    """Of the setup as it is now."""
    placement = setup.placement
    labels = {
        Axis.THREADS: _threads(placement.n_threads),
        Axis.UBATCH: _ubatch(placement.n_ubatch),
        Axis.FLASH_ATTENTION: f"flash attention {placement.flash_attention}",
        Axis.LAYOUT: _layout(setup),
        Axis.CACHE: f"KV {placement.type_k}",
        Axis.LOAD: "mapped" if placement.use_mmap else "read",
        Axis.POWER: "as it is",
    }
    return labels[axis]


def thread_counts(usable_cores: int, *, default: int) -> list[int]:
    """All of a few; of many the powers of two, and those near the end."""
    most = max(1, usable_cores)
    if most <= _FEW_CORES:
        counts = set(range(1, most + 1))
    else:
        counts = {1 << bit for bit in range(most.bit_length()) if 1 << bit <= most}
        counts |= {most // 2, most * 3 // 4, most - 1, most}
    return sorted(counts | {default})


def thread_setups(best: Setup, counts: Sequence[int]) -> dict[str, Setup]:
    return {_threads(count): placed(best, n_threads=count) for count in counts}


def ubatch_setups(best: Setup, *, longest: int) -> dict[str, Setup]:
    """Those that a prompt of `longest` tokens tells apart."""
    now = best.placement.n_ubatch
    sizes = sorted({now, *(size for size in UBATCHES if size <= longest)})
    # All that a prompt fits into compute it alike.
    told_apart = [size for size in sizes if size < longest or size == min(s for s in sizes if s >= longest)]
    return {_ubatch(size): placed(best, n_ubatch=size) for size in sorted({now, *told_apart})}


def flash_setups(best: Setup) -> dict[str, Setup]:
    """`auto` takes it wherever it can be had."""
    now = best.placement.flash_attention
    other = "off" if now != "off" else "on"
    return {f"flash attention {choice}": placed(best, flash_attention=choice) for choice in (now, other)}


def layout_setups(best: Setup, *, has_own_kernels: bool) -> dict[str, Setup]:
    setups = [best]
    if has_own_kernels and best.placement.repack:
        setups.append(replace(best, own_kernels=not best.own_kernels))
    setups.append(placed(best, repack=not best.placement.repack))
    return {_layout(setup): setup for setup in setups}


def load_setups(best: Setup) -> dict[str, Setup]:
    setups = [best, placed(best, use_mmap=not best.placement.use_mmap)]
    return {default_label(Axis.LOAD, setup): setup for setup in setups}


def power_setups(best: Setup, modes: Mapping[int, str]) -> dict[str, Setup]:
    return {name: replace(best, power_mode=number) for number, name in modes.items()}


def placed(setup: Setup, **changes: Any) -> Setup:
    return replace(setup, placement=msgspec.structs.replace(setup.placement, **changes))


def _threads(count: int) -> str:
    return f"threads {count}"


def _ubatch(size: int) -> str:
    return f"ubatch {size}"


def _layout(setup: Setup) -> str:
    if not setup.placement.repack:
        return "as in the file"
    return "repacked, own kernels" if setup.own_kernels else "repacked by llama.cpp"
