"""Sizes of a context, from a placement and the model's own facts: one rule for the load and its dry run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from appliance.engine.speculation import DRAFT_TOKENS_PER_STEP, MAX_DRAFT
from appliance.wire.messages import Placement

LEAST_CTX: Final = 8
"""Tokens: a step of the engine has room in no smaller context."""
N_BATCH: Final = 2048
_POOLED_SLOTS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextShape:
    """What sizes a context. All else that a context is told changes no size."""

    n_ctx_seq: int
    n_slots: int
    n_batch: int
    n_ubatch: int
    n_outputs: int
    """Logits rows of a pass; it sizes the compute buffer, and llama.cpp's copy of them."""
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: str = "auto"
    pooling: int | None = None
    """llama.cpp's pooling type; None: the model generates."""


def generator_shape(
    placement: Placement, *, n_ctx_train: int, n_slots: int, speculates: bool
) -> ContextShape:
    """`n_slots` as `slots.choose_slots` has it."""
    n_drafts = min(DRAFT_TOKENS_PER_STEP, n_slots * MAX_DRAFT) if speculates else 0
    return ContextShape(
        n_ctx_seq=n_ctx_seq(placement, n_ctx_train),
        n_slots=n_slots,
        n_batch=N_BATCH,
        n_ubatch=placement.n_ubatch,
        n_outputs=min(N_BATCH, n_slots + n_drafts),
        type_k=placement.type_k,
        type_v=placement.type_v,
        flash_attention=placement.flash_attention,
    )


def draft_shape(target: ContextShape, *, n_ctx_train: int) -> ContextShape:
    """Of a draft model's context beside the model's."""
    return replace(
        target,
        n_ctx_seq=min(target.n_ctx_seq, n_ctx_train or target.n_ctx_seq),
        n_outputs=target.n_slots,
    )


def pooled_shape(placement: Placement, *, n_ctx_train: int, pooling: int) -> ContextShape:
    """An encoder sees an input as a whole, so one pass must hold the longest."""
    length = n_ctx_seq(placement, n_ctx_train)
    n_batch = max(length, placement.n_ubatch)
    return ContextShape(
        n_ctx_seq=length,
        n_slots=min(placement.n_seq_max, _POOLED_SLOTS),
        n_batch=n_batch,
        n_ubatch=n_batch,
        n_outputs=n_batch,
        flash_attention=placement.flash_attention,
        pooling=pooling,
    )


def n_ctx_seq(placement: Placement, n_ctx_train: int) -> int:
    wanted = placement.n_ctx_seq or n_ctx_train
    return max(LEAST_CTX, min(wanted, n_ctx_train or wanted))
