"""Sizes of many placements of one model, by formulas (`formulas`) from its header: a ladder asks for hundreds
at once, so what does not depend on the placement is reckoned once. Pure.

Weights that a GPU computes with stay as they are in the file; those that a CPU computes with lie in the
layout that it multiplies best.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from appliance.gguf.header import Header, TensorInfo
from appliance.gguf.layouts import Layout
from appliance.gguf.shape import ModelShape, read_shape
from appliance.planner import formulas
from appliance.planner.cache import CacheShape, cache_bytes
from appliance.planner.facts import Accelerator, Footprint
from appliance.planner.footprint import footprint
from appliance.planner.steps import Traits
from appliance.wire.load import Placement
from appliance.wire.sizes import MOST_COPIED, Buffer, ContextSize, Measured

_BLOCK: Final = 32
"""Numbers of a block of q8_0."""
_DRIVER_BYTES: Final = 400 * 1024 * 1024
"""CUDA's context and libraries: 300 to 600 MB until it is measured on the board."""
_F32_BYTES: Final = 4
_THREADS: Final = 4
"""Taken where it is left to the runner."""
_NUMBER: Final = re.compile(r"\d+")


class Model(Struct, frozen=True, kw_only=True):
    """What is known of a model before it is loaded."""

    header: Header
    """With the tensors of all parts; its vocabulary need not be in it."""
    vocabulary_bytes: int = 0
    """On the heap, beside what the header tells."""
    own_kernels: bool = True
    speculation: bool = True


def traits_of(shape: ModelShape) -> Traits:
    heads = (shape.n_embd_head_k or 0, shape.n_embd_head_v or 0)
    blocks = all(head > 0 and head % _BLOCK == 0 for head in heads)
    keeps_cells = any(shape.n_head_kv) and shape.is_causal
    return Traits(
        n_ctx_train=shape.n_ctx_train,
        n_layer=shape.n_layer,
        quantizes_cache=blocks and keeps_cells and shape.kv_lora_rank is None,
    )


def header_size(
    model: Model, accelerator: Accelerator, *, cpu: AbstractSet[str] = frozenset()
) -> Callable[[Sequence[Placement]], list[Footprint]]:
    """A `ladder.Size`. `cpu`: what the board's processor can, by ggml's names."""
    is_cpu = accelerator is Accelerator.NONE
    parts = _Parts(
        model,
        features=frozenset(cpu) if is_cpu else frozenset(),
        own_kernels=model.own_kernels and is_cpu,
    )

    def one(placement: Placement) -> Footprint:
        on_gpu = 0.0 if is_cpu else _on_gpu(parts.shape.n_layer, placement)
        driver_bytes = _DRIVER_BYTES if on_gpu else 0
        taken = footprint(Measured(index=0, model=parts.sizes(placement)), driver_bytes=driver_bytes)
        return replace(taken, device_bytes=_device_bytes(taken, on_gpu)) if _has_own(accelerator) else taken

    def size(placements: Sequence[Placement]) -> list[Footprint]:
        return [one(placement) for placement in placements]

    return size


class _Parts:
    """`formulas.context_size`, each part reckoned once for what it depends on. Owned by one question."""

    def __init__(self, model: Model, *, features: frozenset[str], own_kernels: bool) -> None:
        self.shape = read_shape(model.header)
        self._speculates = model.speculation and not (self.shape.is_recurrent or self.shape.is_hybrid)
        self._vocabulary_bytes = model.vocabulary_bytes
        by_layout = formulas.weights_bytes([model.header], features, own_kernels=own_kernels)
        self._weights_bytes = sum(by_layout.values())
        self._light = replace(model.header, tensors=_kinds(model.header))
        self._cache_of = cache(lambda pass_: cache_bytes(self._light, pass_))
        self._compute_of = cache(lambda pass_: formulas.compute_bytes(self._light, pass_))

    def sizes(self, placement: Placement) -> ContextSize:
        pass_ = formulas.pass_of(self.shape, placement, speculates=self._speculates, is_draft=False)
        n_vocab, width = self.shape.n_vocab or 0, self.shape.n_embd or 0
        buffer = Buffer(
            type=str(Layout.PLAIN),
            weights_bytes=self._weights_bytes,
            cache_bytes=self._cache_bytes(pass_),
            compute_bytes=self._compute_of(replace(pass_, type_k="f16", type_v="f16")),
        )
        return ContextSize(
            buffers=[buffer],
            n_vocab=n_vocab,
            n_slots=pass_.n_slots,
            n_cells=pass_.n_ctx_seq * pass_.n_slots,
            n_outputs=pass_.n_outputs,
            output_bytes=_F32_BYTES * pass_.n_outputs * (width if pass_.is_pooled else n_vocab),
            n_threads=placement.n_threads or _THREADS,
            work_bytes=2 * pass_.n_ubatch * max(width, *self.shape.n_ff, 0),
            vocabulary_bytes=self._vocabulary_bytes,
            unused_cache_bytes=formulas.unused_cache_bytes(self.shape, pass_, buffer.cache_bytes),
            n_copied=0 if pass_.is_pooled else min(MOST_COPIED, pass_.n_slots - 1),
        )

    def _cache_bytes(self, pass_: CacheShape) -> int:
        """Streams are alike, so one is reckoned and counted as often as there are slots."""
        if pass_.is_pooled:
            return self._cache_of(pass_)
        return pass_.n_slots * self._cache_of(replace(pass_, n_slots=1, n_outputs=1))


def _has_own(accelerator: Accelerator) -> bool:
    return accelerator is Accelerator.DISCRETE


def _device_bytes(taken: Footprint, on_gpu: float) -> int:
    if not on_gpu:
        return 0
    return int(on_gpu * (taken.weights_bytes + taken.cache_bytes)) + taken.compute_bytes + _DRIVER_BYTES


def _on_gpu(n_layer: int, placement: Placement) -> float:
    """The part of the layers."""
    layers = n_layer + 1  # llama.cpp counts the output layer as one more
    wanted = layers if placement.n_gpu_layers < 0 else placement.n_gpu_layers
    return min(wanted, layers) / layers


def _kinds(header: Header) -> tuple[TensorInfo, ...]:
    """One tensor of each kind: all that the formulas for anything but the weights look at."""
    found = {(_NUMBER.sub("", tensor.name), tensor.type.name): tensor for tensor in header.tensors}
    return tuple(found.values())
