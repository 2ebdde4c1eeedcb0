"""Measures what placements of a model would take: the loader's own steps, without weights and cells."""

from __future__ import annotations

from collections.abc import Callable

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
from appliance.wire.messages import Placement
from appliance.wire.sizes import ContextSize, Measure, Measured


def measure(order: Measure, on_measured: Callable[[Measured], None]) -> None:
    """Tell of every placement. Raises ModelInvalid for a file that llama.cpp does not load."""
    initialise()
    kernels.enable(wanted=order.own_kernels)
    by_layers: dict[int, list[int]] = {}
    for index, placement in enumerate(order.placements):
        by_layers.setdefault(placement.n_gpu_layers, []).append(index)
    for n_gpu_layers, indices in by_layers.items():
        with_layers = _Models(order, n_gpu_layers)
        try:
            for index in indices:
                on_measured(with_layers.measured(index))
        finally:
            with_layers.close()


class _Models:
    """The model and its draft, opened once for all placements with as many layers on the device."""

    def __init__(self, order: Measure, n_gpu_layers: int) -> None:
        self._order = order
        self._model = _opened(order.model, order.path, order.paths, n_gpu_layers)
        self._draft: LlamaModel | None = None
        if order.draft_path is not None and order.speculation and not self._model.keeps_state:
            name = f"{order.model} (its draft model)"
            self._draft = _opened(name, order.draft_path, [], n_gpu_layers)
        self._mappable = [
            model
            for model, paths in ((self._model, order.paths or [order.path]), (self._draft, [order.draft_path]))
            if model is not None and is_mapped([path for path in paths if path], n_gpu_layers=n_gpu_layers)
        ]

    def measured(self, index: int) -> Measured:
        placement = self._order.placements[index]
        try:
            pooling = pooling_of(placement, self._model)
            if pooling is not None:
                shape = pooled_shape(placement, n_ctx_train=self._model.n_ctx_train, pooling=pooling)
                return Measured(index=index, model=self._size(self._model, shape, placement))
            shape = self._generator_shape(placement)
            draft = None
            if self._draft is not None:
                beside = draft_shape(shape, n_ctx_train=self._draft.n_ctx_train)
                draft = self._size(self._draft, beside, placement)
            return Measured(
                index=index, model=self._size(self._model, shape, placement), draft=draft
            )
        except (OutpostError, ValueError, KeyError) as error:
            return Measured(index=index, fault=str(error))

    def _generator_shape(self, placement: Placement) -> ContextShape:
        n_ctx_train = self._model.n_ctx_train
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
        speculates = self._order.speculation and not self._model.keeps_state
        return generator_shape(placement, n_ctx_train=n_ctx_train, n_slots=n_slots, speculates=speculates)

    def _size(self, model: LlamaModel, shape: ContextShape, placement: Placement) -> ContextSize:
        n_threads, _ = compute_cores(placement)
        context = LlamaContext(model, shape, n_threads=n_threads)
        try:
            return ContextSize(
                buffers=buffers_of(context),
                n_vocab=model.n_vocab,
                n_slots=shape.n_slots,
                n_cells=context.n_ctx_seq * shape.n_slots,
                n_outputs=shape.n_outputs,
                n_threads=n_threads,
                is_mapped=placement.use_mmap and model in self._mappable,
            )
        finally:
            context.close()

    def close(self) -> None:
        for model in (self._draft, self._model):
            if model is not None:
                model.close()


def _opened(name: str, path: str, paths: list[str], n_gpu_layers: int) -> LlamaModel:
    model = LlamaModel(path, name=name, n_gpu_layers=n_gpu_layers, paths=paths, is_dry=True)
    if model.n_vocab <= 0:
        model.close()
        raise ModelInvalid(model=name, reason="it has no vocabulary")
    return model
