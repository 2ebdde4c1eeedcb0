"""Whether a model would fit on a board, and how: `ladder` and `choice` put to one question. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec
from msgspec import Struct

from appliance.errors import InsufficientMemory
from appliance.gguf.shape import read_shape
from appliance.planner.budget import Budget
from appliance.planner.choice import PARALLEL_SHARE, Chosen, Wait, choose
from appliance.planner.facts import Accelerator, Ladder
from appliance.planner.fit_answer import FitAnswer
from appliance.planner.header_sizes import Model, header_size, traits_of
from appliance.planner.ladder import COMFORTABLE_SLOTS, Contender, Terms, build, least_context
from appliance.planner.prices import PriceTable, default_prices
from appliance.planner.speed import decode_bound
from appliance.wire.load import Placement

ALL_LAYERS: Final = -1


class Subject(Struct, frozen=True, kw_only=True):
    """A model that is asked about."""

    name: str
    model: Model
    read_bytes: int
    """Weights that one token reads; 0: unknown."""
    wish: Placement
    origin: str
    """Where its sizes are from, for people."""
    is_guess: bool = False
    notes: tuple[str, ...] = ()


class Machine(Struct, frozen=True, kw_only=True):
    """A board to be planned for: this one, or one that is only known by its facts."""

    name: str | None
    """None: this machine."""
    budget: Budget
    accelerator: Accelerator
    cpu: AbstractSet[str] = frozenset()
    """What its processor can, by ggml's names: it decides the layout of weights."""
    bandwidth_bytes_per_s: int | None = None
    prices: PriceTable | None = None
    """None: those of its kind."""


class Policy(Struct, frozen=True, kw_only=True):
    min_ctx: int = 2048
    comfortable: int = COMFORTABLE_SLOTS
    parallel_share: float = PARALLEL_SHARE


def fit(subject: Subject, machine: Machine, *, policy: Policy, min_ctx: int | None = None) -> FitAnswer:
    """Raises InvalidRequest when the model was not made for `min_ctx`."""
    ladder = ladder_of(subject, machine, policy=policy, min_ctx=min_ctx)
    bandwidth = machine.bandwidth_bytes_per_s
    return FitAnswer(
        model=subject.name,
        ladder=ladder,
        outcome=_outcome(ladder, machine, policy),
        budget=machine.budget,
        board=machine.name,
        origin=subject.origin,
        is_guess=subject.is_guess,
        read_bytes=subject.read_bytes,
        bandwidth_bytes_per_s=bandwidth,
        tokens_per_s=decode_bound(bandwidth, subject.read_bytes) if bandwidth else None,
        notes=subject.notes,
    )


def ladder_of(
    subject: Subject,
    machine: Machine,
    *,
    policy: Policy,
    min_ctx: int | None = None,
    smaller: Sequence[Subject] = (),
) -> Ladder:
    """`smaller`: models that may stand in, the one to be preferred first."""
    traits = traits_of(read_shape(subject.model.header))
    wish = wished(subject.wish, machine.accelerator)
    least = least_context(min_ctx, default=policy.min_ctx, wish=wish, n_ctx_train=traits.n_ctx_train)
    prices = machine.prices or default_prices(machine.accelerator)
    terms = Terms(accelerator=machine.accelerator, prices=prices, comfortable=policy.comfortable)
    return build(
        _contender(subject, machine),
        min_ctx=least,
        terms=terms,
        smaller=[_contender(one, machine) for one in smaller],
    )


def _contender(subject: Subject, machine: Machine) -> Contender:
    return Contender(
        name=subject.name,
        wish=wished(subject.wish, machine.accelerator),
        traits=traits_of(read_shape(subject.model.header)),
        size=header_size(subject.model, machine.accelerator, cpu=machine.cpu),
    )


def wished(wish: Placement, accelerator: Accelerator) -> Placement:
    """All layers where there is a GPU, unless a number is wished for; none where there is no GPU."""
    if accelerator is Accelerator.NONE:
        return msgspec.structs.replace(wish, n_gpu_layers=0)
    return msgspec.structs.replace(wish, n_gpu_layers=wish.n_gpu_layers or ALL_LAYERS)


def _outcome(ladder: Ladder, machine: Machine, policy: Policy) -> Chosen | Wait | InsufficientMemory:
    try:
        return choose(ladder, budget_bytes=machine.budget.bytes, parallel_share=policy.parallel_share)
    except InsufficientMemory as refusal:
        return refusal
