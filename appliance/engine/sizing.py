"""Measures what placements of a model would take: the loader's own steps, without weights and cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import structs

from appliance.engine.context_shape import ContextShape, draft_shape, generator_shape, n_ctx_seq, pooled_shape
from appliance.engine.cores import compute_cores
from appliance.engine.llama.context import LlamaContext, pooling_of
from appliance.engine.llama.dry_run import buffers_of
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import initialise
from appliance.engine.llama.load_mode import is_mapped
from appliance.engine.llama.model import LlamaModel
from appliance.engine.slots import choose_slots
from appliance.errors import ModelInvalid, OutpostError
from appliance.gguf.shape import MAX_LAYERS
from appliance.hardware import process_memory
from appliance.wire.messages import Placement
from appliance.wire.sizes import MOST_COPIED, Buffer, ContextSize, Measure, Measured, unused_bytes

_FLOAT_BYTES: Final = 4
_WORK_BYTES: Final = 2
"""Of a converted activation: f16 is the longest form."""


def measure(order: Measure, on_measured: Callable[[Measured], None]) -> None:
    """Tell of every placement. Raises ModelInvalid for a file that llama.cpp does not load."""
    initialise()
    kernels.enable(wanted=order.own_kernels)
    by_layout: dict[tuple[int, bool], list[int]] = {}
    for index, placement in enumerate(order.placements):
        by_layout.setdefault((placement.n_gpu_layers, placement.repack), []).append(index)
    for (n_gpu_layers, repack), indices in by_layout.items():
        laid_out = _Models(order, n_gpu_layers, repack=repack)
        try:
            for index in indices:
                on_measured(laid_out.measured(index))
        finally:
            laid_out.close()


@dataclass(frozen=True, slots=True)
class _Opened:
    model: LlamaModel
    vocabulary_bytes: int
    is_mappable: bool


class _Models:
    """The model and its draft, opened once for all placements with as many layers on the device and weights
    in the same layout.
    """

    def __init__(self, order: Measure, n_gpu_layers: int, *, repack: bool) -> None:
        self._order = order
        self._main = _opened(order.model, order.path, order.paths, n_gpu_layers, repack=repack)
        self._draft: _Opened | None = None
        if order.draft_path is not None and self._speculates:
            name = f"{order.model} (its draft model)"
            self._draft = _opened(name, order.draft_path, [], n_gpu_layers, repack=repack)

    @property
    def _speculates(self) -> bool:
        return self._order.speculation and not self._main.model.keeps_state

    def measured(self, index: int) -> Measured:
        placement, model = self._order.placements[index], self._main.model
        try:
            pooling = pooling_of(placement, model)
            if pooling is not None:
                shape = pooled_shape(placement, n_ctx_train=model.n_ctx_train, pooling=pooling)
                return Measured(index=index, model=self._size(self._main, shape, placement))
            shape = self._generator_shape(placement)
            draft = None
            if self._draft is not None:
                beside = draft_shape(shape, n_ctx_train=self._draft.model.n_ctx_train)
                draft = self._size(self._draft, beside, placement)
            size = self._size(self._main, shape, placement)
            size = structs.replace(size, n_copied=min(MOST_COPIED, shape.n_slots - 1))
            return Measured(index=index, model=size, draft=draft)
        except (OutpostError, ValueError, KeyError) as error:
            return Measured(index=index, fault=str(error))

    def _generator_shape(self, placement: Placement) -> ContextShape:
        n_ctx_train = self._main.model.n_ctx_train
        wanted = placement.n_seq_max
        n_slots = wanted
        if placement.kv_cells:
            n_slots = choose_slots(
                wanted=wanted,
                n_ctx_seq=n_ctx_seq(placement, n_ctx_train),
                kv_cells=placement.kv_cells,
                bytes_per_cell=0,
                available_bytes=None,
            )
        return generator_shape(
            placement, n_ctx_train=n_ctx_train, n_slots=n_slots, speculates=self._speculates
        )

    def _size(self, opened: _Opened, shape: ContextShape, placement: Placement) -> ContextSize:
        model = opened.model
        n_threads, _ = compute_cores(placement)
        context = LlamaContext(model, shape, n_threads=n_threads)
        try:
            buffers = buffers_of(context)
            return ContextSize(
                buffers=buffers,
                n_vocab=model.n_vocab,
                n_slots=shape.n_slots,
                n_cells=context.n_ctx_seq * shape.n_slots,
                n_outputs=shape.n_outputs,
                output_bytes=_output_bytes(model, shape),
                n_threads=n_threads,
                work_bytes=_WORK_BYTES * min(shape.n_ubatch, shape.n_batch) * _widest(model),
                vocabulary_bytes=opened.vocabulary_bytes,
                is_mapped=placement.use_mmap and opened.is_mappable,
                unused_cache_bytes=_unused_bytes(context, buffers),
            )
        finally:
            context.close()

    def close(self) -> None:
        for opened in (self._draft, self._main):
            if opened is not None:
                opened.model.close()


def _opened(name: str, path: str, paths: list[str], n_gpu_layers: int, *, repack: bool) -> _Opened:
    before = _anonymous_bytes()
    model = LlamaModel(path, name=name, n_gpu_layers=n_gpu_layers, repack=repack, paths=paths, is_dry=True)
    taken = max(0, _anonymous_bytes() - before)
    if model.n_vocab <= 0:
        model.close()
        raise ModelInvalid(model=name, reason="it has no vocabulary")
    return _Opened(model, taken, is_mapped(paths or [path], n_gpu_layers=n_gpu_layers, repack=repack))


def _unused_bytes(context: LlamaContext, buffers: Sequence[Buffer]) -> int:
    """A window or a state is used to its end; of a pooled context all slots share the cells."""
    model = context.model
    if model.n_swa or model.keeps_state or context.pooling != "none":
        return 0
    share = 1 - context.n_ctx_seq / context.cells_per_slot
    return unused_bytes(
        sum(buffer.cache_bytes for buffer in buffers), share, n_streams=model.n_layers * context.n_slots
    )


def _output_bytes(model: LlamaModel, shape: ContextShape) -> int:
    """A pooled pass has logits rows, too, which nobody writes and which so take nothing."""
    width = model.n_vocab if shape.pooling is None else model.n_embd_out
    return _FLOAT_BYTES * width * max(shape.n_outputs, shape.n_slots)


def _widest(model: LlamaModel) -> int:
    """The longest row of activations that a pass converts."""
    architecture = model.meta("general.architecture") or ""
    told = model.meta(f"{architecture}.feed_forward_length") or ""
    return max(model.n_embd, *(int(number) for number in re.findall(r"\d+", told)[:MAX_LAYERS] or ["0"]))


def _anonymous_bytes() -> int:
    return process_memory.parse(Path("/proc/self/status").read_text(encoding="ascii")) or 0
