"""The ladder: every placement a model could be loaded with, in the order in which they are wanted. Pure.

1. Each axis has its steps (`steps`), the wish first: parallel slots, context, KV type, ubatch, projector, GPU
   layers, variant. No step leads below `min_ctx`.
2. A rung is one step on each axis. What it concedes has prices (`prices`); its worth is their product.
3. Rungs are sorted by worth. Of two that are worth the same, the one that gives up less on the later axis
   (in the order of 1) is first, so equal prices are paid in that order.
4. A rung that is no smaller than a better one is left out: whenever it would fit, the better one fits.

So the first rung that fits (`choice`) is the least costly of all that fit, a cheap concession that suffices
goes before a dear one, and more memory never gives a worse rung. Nothing here depends on the memory there is
now.

More than the comfortable number of slots are on a rung only where all else is as wished. Its terms are
stricter (`choice`), so it leaves out only its like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, product
from math import prod
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from appliance.errors import InvalidRequest, ModelInvalid
from appliance.planner.facts import Accelerator, Conceded, Concession, Footprint, Ladder, Rung
from appliance.planner.prices import PriceTable
from appliance.planner.steps import (
    CELLS,
    Step,
    Traits,
    cache_steps,
    context_steps,
    layer_steps,
    projector_steps,
    slot_steps,
    ubatch_steps,
)
from appliance.wire.load import Placement

Size = Callable[[Sequence[Placement]], Sequence[Footprint | None]]
"""What a runner would take under each placement, in their order; None: llama.cpp refuses it."""

COMFORTABLE_SLOTS: Final = 4
_DIGITS: Final = 9
"""Of a worth that count: the rest is noise of the multiplication."""
_BELOW: Final = 64
"""Contexts looked at under the least one, at most: what is told to fit is that exact."""


_Sized = TypeVar("_Sized", "_Candidate", Rung)


class Contender(Struct, frozen=True, kw_only=True):
    """One model that may be loaded: the one that was asked for, or a smaller variant of it."""

    name: str
    wish: Placement
    traits: Traits
    size: Size


class Terms(Struct, frozen=True, kw_only=True):
    """What holds for the whole ladder."""

    accelerator: Accelerator
    prices: PriceTable
    comfortable: int = COMFORTABLE_SLOTS


def build(contender: Contender, *, min_ctx: int, terms: Terms, smaller: Sequence[Contender] = ()) -> Ladder:
    """`smaller`: variants, the one to be preferred first; those that were not trained for `min_ctx` are left
    out. Raises InvalidRequest when the model itself was not, ModelInvalid when nothing can be loaded.
    """
    wish = resolved(contender, min_ctx=min_ctx)
    candidates = _candidates(contender, wish, min_ctx, terms, step=0, instead_of=None)
    for step, variant in enumerate(smaller, start=1):
        if _trained_for(variant.traits, min_ctx):
            own = resolved(variant, min_ctx=min_ctx)
            candidates += _candidates(variant, own, min_ctx, terms, step=step, instead_of=contender.name)
    rungs = tuple(one.rung() for one in _pruned(sorted(candidates, key=_wanted), terms.comfortable))
    if all(rung.placement.n_seq_max > terms.comfortable for rung in rungs):
        raise ModelInvalid(model=contender.name, reason="llama.cpp refuses every placement of it")
    return Ladder(
        model=contender.name,
        min_ctx=min_ctx,
        comfortable=terms.comfortable,
        rungs=rungs,
        below=_below(contender, wish, min_ctx, terms),
    )


def resolved(contender: Contender, *, min_ctx: int) -> Placement:
    """The wish with nothing left open: the context in tokens, the slots that its cells allow. Raises
    InvalidRequest.
    """
    wish, trained = contender.wish, contender.traits.n_ctx_train
    if not _trained_for(contender.traits, min_ctx):
        raise InvalidRequest(
            reason=f"'{contender.name}' was made for {trained} tokens of context, {min_ctx} are asked for",
            param="min_ctx",
        )
    tokens = max(wish.n_ctx_seq or trained or min_ctx, min_ctx)
    tokens = min(tokens, trained) if trained else tokens
    slots = min(wish.n_seq_max, wish.kv_cells // tokens) if wish.kv_cells else wish.n_seq_max
    return _placed(wish, n_ctx_seq=tokens, n_seq_max=max(1, slots))


def least_context(asked: int | None, *, default: int, wish: Placement, n_ctx_train: int | None) -> int:
    """The `min_ctx` of a caller: what was asked for; else the default, if wish and model go so far."""
    if asked is not None:
        return asked
    bounds = [bound for bound in (wish.n_ctx_seq, n_ctx_train) if bound]
    return max(1, min([default, *bounds]))


def resized(ladder: Ladder, footprints: Sequence[Footprint | None]) -> Ladder:
    """The same rungs with other sizes (measured, or from a dry run), one for each; without those that are
    refused, and those that are no use any more.
    """
    rungs = [
        replace(rung, footprint=footprint)
        for rung, footprint in zip(ladder.rungs, footprints, strict=True)
        if footprint is not None
    ]
    return replace(ladder, rungs=tuple(_pruned(rungs, ladder.comfortable)))


class _Candidate(NamedTuple):
    """Sorts as it is wanted; only the few that are kept become rungs."""

    unworth: float
    levels: tuple[int, ...]
    """How far down each axis, the last axis first: what decides between equals; no two are the same."""
    conceded: tuple[Conceded, ...]
    placement: Placement
    footprint: Footprint
    variant: str | None

    def rung(self) -> Rung:
        return Rung(
            placement=self.placement, footprint=self.footprint, conceded=self.conceded, variant=self.variant
        )


def _candidates(
    contender: Contender, wish: Placement, min_ctx: int, terms: Terms, *, step: int, instead_of: str | None
) -> list[_Candidate]:
    """`step`: the how-many-th variant this is; 0: the model itself."""
    axes = _axes(contender.traits, wish, contender.wish.n_ctx_seq, min_ctx, terms)
    axes.append([_variant_step(contender, step, instead_of, terms.prices)])
    combinations = [
        chosen
        for chosen in product(*(enumerate(axis) for axis in axes))
        if not _pays_for_slots(chosen, terms.comfortable)
    ]
    placements = [_changed(wish, chosen) for chosen in combinations]
    footprints = contender.size(placements)
    return [
        _candidate(chosen, placement, footprint, step, contender.name if step else None)
        for chosen, placement, footprint in zip(combinations, placements, footprints, strict=True)
        if footprint is not None
    ]


def _pays_for_slots(chosen: Sequence[tuple[int, Step]], comfortable: int) -> bool:
    """Whether anything is given up beside more than the comfortable slots: they are a gift, or not had."""
    (_, slots), *others = chosen
    return slots.changes["n_seq_max"] > comfortable and any(level for level, _ in others)


def _candidate(
    chosen: Sequence[tuple[int, Step]],
    placement: Placement,
    footprint: Footprint,
    step: int,
    variant: str | None,
) -> _Candidate:
    conceded = tuple([one.conceded for _, one in chosen if one.conceded is not None])
    worth = prod([one.price for one in conceded])
    levels = (step, *[level for level, _ in reversed(chosen)])
    return _Candidate(-round(worth, _DIGITS), levels, conceded, placement, footprint, variant)


def _variant_step(contender: Contender, step: int, instead_of: str | None, prices: PriceTable) -> Step:
    if instead_of is None:
        return Step(changes={})
    return Step(
        changes={},
        conceded=Conceded(
            what=Concession.VARIANT, wanted=instead_of, got=contender.name, price=prices.variant**-step
        ),
    )


def _axes(traits: Traits, wish: Placement, asked: int, min_ctx: int, terms: Terms) -> list[list[Step]]:
    prices, accelerator, least = terms.prices, terms.accelerator, min(min_ctx, wish.n_ctx_seq)
    return [
        slot_steps(wish.n_seq_max, comfortable=terms.comfortable, prices=prices),
        context_steps(wish.n_ctx_seq, asked=max(asked, wish.n_ctx_seq), least=least, prices=prices),
        cache_steps(wish, traits, prices=prices),
        ubatch_steps(wish.n_ubatch, prices=prices),
        projector_steps(wish, traits, accelerator, prices=prices),
        layer_steps(wish, traits, accelerator, prices=prices),
    ]


def _changed(wish: Placement, chosen: Sequence[tuple[int, Step]]) -> Placement:
    changes: dict[str, Any] = {}
    for _, step in chosen:
        changes |= step.changes
    return _placed(wish, **changes)


def _placed(wish: Placement, **changes: Any) -> Placement:
    """With the cells said, so that the runner chooses nothing itself."""
    tokens = changes.get("n_ctx_seq", wish.n_ctx_seq)
    slots = changes.get("n_seq_max", wish.n_seq_max)
    return msgspec.structs.replace(wish, **changes, kv_cells=tokens * slots)


def _pruned(candidates: Iterable[_Sized], comfortable: int) -> list[_Sized]:
    firm: list[Footprint] = []
    extra: list[Footprint] = []
    kept = []
    for one in candidates:
        is_extra = one.placement.n_seq_max > comfortable
        better = chain(reversed(extra), reversed(firm)) if is_extra else reversed(firm)
        if any(_holds(one.footprint, other) for other in better):
            continue
        (extra if is_extra else firm).append(one.footprint)
        kept.append(one)
    return kept


def _wanted(candidate: _Candidate) -> tuple[float, tuple[int, ...]]:
    return candidate.unworth, candidate.levels


def _holds(large: Footprint, small: Footprint) -> bool:
    return large.host_bytes >= small.host_bytes and large.device_bytes >= small.device_bytes


def _trained_for(traits: Traits, min_ctx: int) -> bool:
    return traits.n_ctx_train is None or min_ctx <= traits.n_ctx_train


def _below(contender: Contender, wish: Placement, min_ctx: int, terms: Terms) -> tuple[Rung, ...]:
    """Everything but the context conceded as far as it goes."""
    axes = _axes(contender.traits, wish, wish.n_ctx_seq, wish.n_ctx_seq, terms)
    leanest = _changed(wish, [(0, axis[-1]) for axis in axes])
    step = -(-min_ctx // (_BELOW * CELLS)) * CELLS
    lengths = sorted(range(step, min_ctx, step), reverse=True)
    placements = [_placed(leanest, n_ctx_seq=tokens) for tokens in lengths]
    return tuple(
        Rung(placement=placement, footprint=footprint)
        for placement, footprint in zip(placements, contender.size(placements), strict=True)
        if footprint is not None
    )
