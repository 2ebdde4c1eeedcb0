"""What a model takes in memory, from its header alone. Pure.

Three uses: for a model of which there is only a manifest or a header, for a machine whose llama.cpp we do
not know from inside, and as a check of what a dry run says. The rules are llama.cpp's (of the pinned
version); `TOLERANCE` tells how far they may be from it, for the architectures of tests/fakes/ghost_models.py.

    weights    each tensor, in the layout that the processor multiplies best; embeddings a second time where
               they stand in for an output layer and its layout is another
    cache      `cache.py`
    compute    the largest of: a feed-forward of a pass, its experts, its logits
    output     a row of logits for each output
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

from appliance.gguf.architectures import ENCODERS
from appliance.gguf.header import Header
from appliance.gguf.layouts import Features, Layout, layout_of, may_be_copied
from appliance.gguf.shape import ModelShape, read_shape
from appliance.planner.cache import CacheShape, cache_bytes, state_numbers
from appliance.planner.facts import Footprint
from appliance.planner.footprint import footprint as footprint_of
from appliance.wire.load import Placement
from appliance.wire.sizes import MOST_COPIED, Buffer, ContextSize, Measured, unused_bytes

TOLERANCE: Final[Mapping[str, float]] = {"weights": 0.005, "cache": 0.005, "compute": 0.1}
"""As a share of what a dry run says."""
_LEAST_DIFFERENCE_BYTES: Final = 2 * 1024 * 1024
"""Smaller ones are of no interest to anybody."""

_ALIGNMENT: Final = 32
_FLOAT_BYTES: Final = 4
_MASK_BYTES: Final = 2
_N_BATCH: Final = 2048
_DRAFT_TOKENS: Final = 64
_MOST_DRAFT: Final = 32
_POOLED_SLOTS: Final = 16
"""As `engine/context_shape.py` and `engine/speculation.py` have them."""
_TOKEN_BYTES: Final = 190
_MERGE_BYTES: Final = 200
"""Heap of a vocabulary (docs/memory.md)."""


def footprint(
    headers: Sequence[Header],
    placement: Placement,
    *,
    cpu: Features,
    draft: Header | None = None,
    adapters_bytes: int = 0,
    own_kernels: bool = True,
    speculation: bool = True,
) -> Footprint:
    """`headers`: of all parts of the model. `cpu`: what its processor can (`hardware/features.py`)."""
    size = context_size(headers, placement, cpu=cpu, own_kernels=own_kernels, speculation=speculation)
    beside = None
    if draft is not None and speculation and not _keeps_state(read_shape(draft)):
        beside = context_size([draft], placement, cpu=cpu, own_kernels=own_kernels, is_draft=True)
    return footprint_of(Measured(index=0, model=size, draft=beside), adapters_bytes=adapters_bytes)


def context_size(
    headers: Sequence[Header],
    placement: Placement,
    *,
    cpu: Features,
    own_kernels: bool = True,
    speculation: bool = True,
    is_draft: bool = False,
) -> ContextSize:
    """As a dry run would tell it."""
    shape = read_shape(headers[0])
    pass_ = pass_of(shape, placement, speculates=speculation and not _keeps_state(shape), is_draft=is_draft)
    weights = weights_bytes(headers, cpu, own_kernels=own_kernels)
    buffers = [
        Buffer(
            type=str(layout),
            weights_bytes=weights.get(layout, 0),
            cache_bytes=cache_bytes(headers[0], pass_) if layout is Layout.PLAIN else 0,
            compute_bytes=compute_bytes(headers[0], pass_) if layout is Layout.PLAIN else 0,
        )
        for layout in Layout
        if layout is Layout.PLAIN or layout in weights
    ]
    n_vocab, width = shape.n_vocab or 0, shape.n_embd or 0
    kinds = {tensor.type.name for header in headers for tensor in header.tensors}
    return ContextSize(
        buffers=buffers,
        n_vocab=n_vocab,
        n_slots=pass_.n_slots,
        n_cells=pass_.n_ctx_seq * pass_.n_slots,
        n_outputs=pass_.n_outputs,
        output_bytes=_FLOAT_BYTES * pass_.n_outputs * (width if pass_.is_pooled else n_vocab),
        n_threads=placement.n_threads or 4,
        work_bytes=2 * pass_.n_ubatch * max(width, *shape.n_ff, 0),
        vocabulary_bytes=vocabulary_bytes(headers[0]),
        unused_cache_bytes=unused_cache_bytes(shape, pass_, sum(buffer.cache_bytes for buffer in buffers)),
        n_copied=0 if pass_.is_pooled or is_draft else min(MOST_COPIED, pass_.n_slots - 1),
        is_mapped=placement.use_mmap
        and placement.n_gpu_layers == 0
        and not any(may_be_copied(kind, cpu, own_kernels=own_kernels) for kind in kinds),
    )


def weights_bytes(headers: Sequence[Header], cpu: Features, *, own_kernels: bool = True) -> dict[Layout, int]:
    """By layout."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    found: dict[Layout, int] = {}
    for tensor in tensors:
        layout = layout_of(tensor, cpu, own_kernels=own_kernels)
        found[layout] = found.get(layout, 0) + _padded(tensor.size_bytes)
    if headers[0].architecture in ENCODERS or any(tensor.name == "output.weight" for tensor in tensors):
        return found
    for tensor in tensors:
        if tensor.name == "token_embd.weight":
            layout = layout_of(tensor, cpu, own_kernels=own_kernels, is_output=True)
            if layout is not Layout.PLAIN:
                found[layout] = found.get(layout, 0) + _padded(tensor.size_bytes)
    return found


def compute_bytes(header: Header, pass_: CacheShape) -> int:
    """What a pass of `n_ubatch` tokens holds at once, with flash attention."""
    shape = read_shape(header)
    width, n_ff = shape.n_embd or 0, max(shape.n_ff, default=0)
    queries = max(shape.n_head, default=0) * (shape.n_embd_head_k or 0) if shape.kv_lora_rank is None else 0
    is_gated = any(tensor.name.endswith(("ffn_gate.weight", "ffn_up.weight")) for tensor in header.tensors)
    is_gated = is_gated and shape.architecture not in ENCODERS
    feed = (3 if is_gated else 1) * n_ff + 4 * width + max(0, queries - width)
    experts = 0
    if shape.n_expert:
        per_expert = header.integer(f"{shape.architecture}.expert_feed_forward_length") or n_ff
        experts = shape.n_expert_used * 2 * (width + per_expert) + 2 * width
    states = 6 * shape.ssm_d_inner + width if shape.ssm_d_inner else 0
    n_tokens = min(pass_.n_ubatch, pass_.n_ctx_seq * pass_.n_slots)
    mask = 0 if pass_.is_pooled or shape.is_recurrent else _MASK_BYTES * n_tokens * pass_.cells
    # A pass gathers the states of one layer.
    gathered = _FLOAT_BYTES * pass_.n_slots * state_numbers(header, shape) if _keeps_state(shape) else 0
    activations = n_tokens * _FLOAT_BYTES * max(feed if n_ff else 0, experts, states) + mask + gathered
    if pass_.is_pooled:
        return activations
    n_outputs = min(n_tokens, pass_.n_outputs)
    logits = n_outputs * _FLOAT_BYTES * ((shape.n_vocab or 0) + width) + n_tokens * _FLOAT_BYTES * width
    return max(activations, logits)


def unused_cache_bytes(shape: ModelShape, pass_: CacheShape, cache_bytes: int) -> int:
    """`engine/sizing.py`, by a header."""
    if shape.n_swa or _keeps_state(shape) or pass_.is_pooled:
        return 0
    share = 1 - pass_.n_ctx_seq / pass_.cells
    return unused_bytes(cache_bytes, share, n_streams=shape.n_layer * pass_.n_slots)


def vocabulary_bytes(header: Header) -> int:
    tokens, merges = header.strings("tokenizer.ggml.tokens"), header.strings("tokenizer.ggml.merges")
    return _TOKEN_BYTES * len(tokens or ()) + _MERGE_BYTES * len(merges or ())


def differences(
    headers: Sequence[Header],
    placement: Placement,
    measured: ContextSize,
    *,
    cpu: Features,
    own_kernels: bool = True,
    speculation: bool = True,
) -> list[str]:
    """Where the formulas are further from a dry run than they should be, in words."""
    ours = context_size(headers, placement, cpu=cpu, own_kernels=own_kernels, speculation=speculation)
    found = []
    for what, share in TOLERANCE.items():
        expected, told = _sum(ours, what), _sum(measured, what)
        if abs(expected - told) > max(share * told, _LEAST_DIFFERENCE_BYTES):
            found.append(f"{what}: {told} bytes by the dry run, {expected} by formulas")
    return found


def _sum(size: ContextSize, what: str) -> int:
    return sum(int(getattr(buffer, f"{what}_bytes")) for buffer in size.buffers)


def pass_of(shape: ModelShape, placement: Placement, *, speculates: bool, is_draft: bool) -> CacheShape:
    """`engine/context_shape.py`, by a header."""
    n_ctx_train = shape.n_ctx_train or 0
    wanted = placement.n_ctx_seq or n_ctx_train
    n_ctx_seq = max(8, min(wanted, n_ctx_train or wanted))
    pooling = shape.pooling_type if placement.pooling is None else placement.pooling != "none"
    if pooling:
        n_batch = max(n_ctx_seq, placement.n_ubatch)
        n_slots = min(placement.n_seq_max, _POOLED_SLOTS)
        return CacheShape(
            n_ctx_seq=n_ctx_seq, n_slots=n_slots, n_ubatch=n_batch, n_outputs=n_batch, is_pooled=True
        )
    n_slots = placement.n_seq_max
    if placement.kv_cells:
        n_slots = max(1, min(n_slots, placement.kv_cells // n_ctx_seq))
    drafts = min(_DRAFT_TOKENS, n_slots * _MOST_DRAFT) if speculates and not is_draft else 0
    return CacheShape(
        n_ctx_seq=n_ctx_seq,
        n_slots=n_slots,
        n_ubatch=min(placement.n_ubatch, _N_BATCH),
        n_outputs=min(_N_BATCH, n_slots + drafts),
        type_k=placement.type_k,
        type_v=placement.type_v,
    )


def _keeps_state(shape: ModelShape) -> bool:
    return shape.is_recurrent or shape.is_hybrid


def _padded(size_bytes: int) -> int:
    return ceil(size_bytes / _ALIGNMENT) * _ALIGNMENT
