"""What each concession costs: the worth that is left of a wish, as a factor between 0 and 1.

All are on one scale, or a ladder could not weigh a shorter context against a slower cache. Where speed is
given up, the factor is the speed left for a request whose time at full speed is prefill for one half and
decode for the other. Where it is not (slots, context, the model), it is a policy; its sentence says so.

A table is data: the calibration of a board replaces what it has measured (`structs.replace`).
"""

from __future__ import annotations

from math import log2
from typing import Final

from msgspec import Struct

from appliance.planner.facts import Accelerator


class PriceTable(Struct, frozen=True, kw_only=True):
    """Every number is a factor on time, at least 1: 1.4 takes 1.4 times as long."""

    prefill_share: float = 0.5
    """Of a request's time at full speed."""
    extra_slots_halved: float = 1.01
    """Each halving of the slots beyond the comfortable ones. Policy: nearly free."""
    slots_halved: float = 1.1
    """Each halving below. Policy: it costs only who would come at the same time."""
    context_halved: float = 1.25
    """Each halving of the context, down to what the caller says to need. Policy."""
    cache_prefill: float = 3.0
    cache_decode: float = 1.4
    """Of a q8_0 KV cache against f16, at a depth of 3,500 tokens."""
    ubatch_prefill: tuple[tuple[int, float], ...] = ()
    """(ubatch, time of a prefill against the fastest); between two of them that of the smaller one."""
    projector_on_cpu: float = 1.3
    """Policy: only who sends pictures waits."""
    cpu_layer: float = 8.0
    """A layer on the CPU against one on the GPU: about the ratio of their memory's bandwidths."""
    variant: float = 16.0
    """Each step to a smaller variant. Policy: another model than the one that was asked for comes last."""

    def slots(self, wanted: int, got: int, *, comfortable: int) -> float:
        extra = _halvings(wanted, max(got, comfortable)) if wanted > comfortable else 0.0
        firm = _halvings(min(wanted, comfortable), min(got, comfortable))
        return float(self.extra_slots_halved**-extra * self.slots_halved**-firm)

    def context(self, wanted: int, got: int) -> float:
        return float(self.context_halved ** -_halvings(wanted, got))

    def q8_cache(self) -> float:
        return self._speed(prefill=self.cache_prefill, decode=self.cache_decode)

    def ubatch(self, wanted: int, got: int) -> float:
        relative = self._ubatch_time(got) / self._ubatch_time(wanted)
        return self._speed(prefill=max(1.0, relative), decode=1.0)

    def layers(self, moved: float) -> float:
        """`moved`: the part of the layers that is computed on the CPU instead."""
        return 1.0 / (1.0 + moved * (self.cpu_layer - 1.0))

    def _speed(self, *, prefill: float, decode: float) -> float:
        return 1.0 / (self.prefill_share * prefill + (1.0 - self.prefill_share) * decode)

    def _ubatch_time(self, n_ubatch: int) -> float:
        known = [entry for entry in self.ubatch_prefill if entry[0] <= n_ubatch]
        return max(known)[1] if known else max((time for _, time in self.ubatch_prefill), default=1.0)


CPU_PRICES: Final = PriceTable(ubatch_prefill=((32, 1.13), (64, 1.02), (128, 1.0)))
"""Measured on x86 with SmolLM2-135M: the cache at a depth of 3,500 tokens; ubatch by prefills of 24 tokens
(1.13), 80 and 256 (both the same time a token; docs/adr/0013).
"""
GPU_PRICES: Final = PriceTable(
    cache_prefill=1.15,
    cache_decode=1.1,
    ubatch_prefill=((32, 2.2), (64, 1.6), (128, 1.25), (256, 1.1), (512, 1.0)),
)
"""Assumed, not measured: to be replaced by the calibration of the board."""


def default_prices(accelerator: Accelerator) -> PriceTable:
    return CPU_PRICES if accelerator is Accelerator.NONE else GPU_PRICES


def _halvings(wanted: int, got: int) -> float:
    return max(0.0, log2(wanted / got))
