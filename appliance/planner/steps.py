"""The values that a ladder tries on each axis, the wish first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from appliance.planner.facts import Accelerator, Conceded, Concession
from appliance.planner.prices import PriceTable
from appliance.wire.load import Placement

CELLS: Final = 256
"""llama.cpp pads the cells of a stream to this: a context between two multiples saves nothing."""
_PER_OCTAVE: Final = 4
"""Contexts tried between a length and its half: what is taken is less than a fifth shorter than would fit."""
_LEAST_UBATCH: Final = 32
_LAYER_STEPS: Final = 4
_LARGER_THAN_Q8: Final = frozenset({"f32", "f16", "bf16"})


class Traits(Struct, frozen=True, kw_only=True):
    """What of a model bears on what may be conceded."""

    n_ctx_train: int | None
    n_layer: int
    has_projector: bool = False
    """A projector that the runner loads with it."""
    quantizes_cache: bool = True
    """Its heads are whole blocks of q8_0, and its attention is one that llama.cpp has as flash attention:
    without, a quantised V cache is refused.
    """


class Step(Struct, frozen=True, kw_only=True):
    """One value on one axis."""

    changes: dict[str, Any]
    """Fields of the placement."""
    conceded: Conceded | None = None
    """None: nothing, this is the wish."""


def slot_steps(wanted: int, *, comfortable: int, prices: PriceTable) -> list[Step]:
    """Halved down to one; the comfortable number is always among them."""
    counts = {1, min(wanted, comfortable), wanted}
    counts |= {1 << power for power in range(wanted.bit_length()) if 1 << power < wanted}
    return [
        Step(
            changes={"n_seq_max": count},
            conceded=_conceded(
                Concession.PARALLEL, wanted, count, prices.slots(wanted, count, comfortable=comfortable)
            ),
        )
        for count in sorted(counts, reverse=True)
    ]


def context_steps(wanted: int, *, asked: int, least: int, prices: PriceTable) -> list[Step]:
    """`asked`: more than `wanted` where the model was made for no more; that is told, and costs nothing."""
    return [
        Step(
            changes={"n_ctx_seq": tokens},
            conceded=_conceded(Concession.CONTEXT, asked, tokens, prices.context(wanted, tokens)),
        )
        for tokens in context_lengths(wanted, least=least)
    ]


def context_lengths(wanted: int, *, least: int) -> list[int]:
    """From `wanted` down to `least`, both among them; between them fourths of each octave."""
    lengths = {wanted, least}
    octave = CELLS
    while octave < wanted:
        for part in range(_PER_OCTAVE):
            tokens = octave * (_PER_OCTAVE + part) // _PER_OCTAVE // CELLS * CELLS
            if least < tokens < wanted:
                lengths.add(tokens)
        octave *= 2
    return sorted(lengths, reverse=True)


def cache_steps(wish: Placement, traits: Traits, *, prices: PriceTable) -> list[Step]:
    """Keys and values together: llama.cpp's CUDA kernels take a pair of one type only."""
    steps = [Step(changes={})]
    if traits.quantizes_cache and {wish.type_k, wish.type_v} & _LARGER_THAN_Q8:
        changes = {"type_k": _no_larger(wish.type_k), "type_v": _no_larger(wish.type_v)}
        wanted, got = _pair(wish.type_k, wish.type_v), _pair(changes["type_k"], changes["type_v"])
        conceded = _conceded(Concession.CACHE_TYPE, wanted, got, prices.q8_cache())
        steps.append(Step(changes=changes, conceded=conceded))
    return steps


def ubatch_steps(wanted: int, *, prices: PriceTable) -> list[Step]:
    return [
        Step(
            changes={"n_ubatch": size},
            conceded=_conceded(Concession.UBATCH, wanted, size, prices.ubatch(wanted, size)),
        )
        for size in _halved(wanted, least=_LEAST_UBATCH)
    ]


def projector_steps(
    wish: Placement, traits: Traits, accelerator: Accelerator, *, prices: PriceTable
) -> list[Step]:
    """On unified memory too: a projector on the GPU is a copy beside the file's pages."""
    steps = [Step(changes={})]
    if traits.has_projector and accelerator is not Accelerator.NONE and not wish.projector_on_cpu:
        conceded = _conceded(Concession.PROJECTOR, "gpu", "cpu", 1.0 / prices.projector_on_cpu)
        steps.append(Step(changes={"projector_on_cpu": True}, conceded=conceded))
    return steps


def layer_steps(
    wish: Placement, traits: Traits, accelerator: Accelerator, *, prices: PriceTable
) -> list[Step]:
    """Only where the GPU has memory of its own: on unified memory a layer takes the same DRAM on either side,
    and moving it to the CPU would make it slower and free nothing.
    """
    all_layers = traits.n_layer + 1  # llama.cpp counts the output layer as one more
    wanted = all_layers if wish.n_gpu_layers < 0 else min(wish.n_gpu_layers, all_layers)
    if accelerator is not Accelerator.DISCRETE or wanted <= 0:
        return [Step(changes={})]
    counts = {wanted * part // _LAYER_STEPS for part in range(_LAYER_STEPS)}
    fewer = [
        Step(
            changes={"n_gpu_layers": count},
            conceded=_conceded(
                Concession.GPU_LAYERS, wanted, count, prices.layers((wanted - count) / wanted)
            ),
        )
        for count in sorted(counts, reverse=True)
    ]
    return [Step(changes={}), *fewer]


def _conceded(what: Concession, wanted: object, got: object, price: float) -> Conceded | None:
    if wanted == got:
        return None
    return Conceded(what=what, wanted=str(wanted), got=str(got), price=price)


def _halved(wanted: int, *, least: int) -> Iterator[int]:
    value = wanted
    while True:
        yield value
        if value // 2 < least:
            return
        value //= 2


def _no_larger(cache_type: str) -> str:
    return "q8_0" if cache_type in _LARGER_THAN_Q8 else cache_type


def _pair(type_k: str, type_v: str) -> str:
    return type_k if type_k == type_v else f"{type_k}/{type_v}"
