"""A context over a model: one KV stream per slot, decode of a ragged batch, logits, slot contents, pooled
embeddings.

Per-sequence KV streams (`kv_unified` off): attention of a sequence reads its own cells only (ADR 0005 has the
figures). What follows from it: a batch is computed in as few passes as its slot numbers have runs without a
gap, and a slot's content moves by copying its cells.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from llama_cpp import llama_cpp as bindings
from numpy.typing import NDArray

from appliance.engine.backend import Span
from appliance.engine.context_shape import ContextShape
from appliance.engine.llama.library import KV_TYPES, log
from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.threadpool import Threadpool
from appliance.errors import EngineFault, ModelInvalid
from appliance.wire.messages import Placement

_POOLING = {
    bindings.LLAMA_POOLING_TYPE_NONE: "none",
    bindings.LLAMA_POOLING_TYPE_MEAN: "mean",
    bindings.LLAMA_POOLING_TYPE_CLS: "cls",
    bindings.LLAMA_POOLING_TYPE_LAST: "last",
    bindings.LLAMA_POOLING_TYPE_RANK: "rank",
}

_FLASH_ATTENTION = {
    "auto": bindings.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": bindings.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": bindings.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_PLAIN_VALUES = frozenset({"f16", "f32", "bf16"})

_POOLING_BY_NAME = {name: value for value, name in _POOLING.items()}


def pooling_of(placement: Placement, model: LlamaModel) -> int | None:
    """llama.cpp's pooling type, from the placement or the GGUF; None: the model generates."""
    if placement.pooling is not None:
        return None if placement.pooling == "none" else _POOLING_BY_NAME[placement.pooling]
    architecture = model.meta("general.architecture") or ""
    stored = model.meta(f"{architecture}.pooling_type")
    return int(stored) if stored is not None and int(stored) > 0 else None


# PERF: a prototype that gives the address as a number; the binding's makes a pointer object in every call.
_logits_address = bindings._lib["llama_get_logits"]  # noqa: SLF001  # no public way to its symbols
_logits_address.argtypes = [bindings.llama_context_p_ctypes]
_logits_address.restype = ctypes.c_void_p


class _Batch:
    """A `llama_batch` over numpy arrays that are filled by slices. Sized once for `n_batch` tokens."""

    def __init__(self, n_batch: int) -> None:
        self.token = np.zeros(n_batch, np.int32)
        self.pos = np.zeros(n_batch, np.int32)
        self.n_seq_id = np.ones(n_batch, np.int32)
        self.seq_id = np.zeros(n_batch, np.int32)
        self.output = np.zeros(n_batch, np.int8)
        self._seq_id_pointers = (self.seq_id.ctypes.data + 4 * np.arange(n_batch)).astype(np.uint64)
        self._ramp = np.arange(n_batch, dtype=np.int32)
        self.struct = cast("Any", bindings.llama_batch())
        int32_p = ctypes.POINTER(ctypes.c_int32)
        self.struct.token = ctypes.cast(self.token.ctypes.data, int32_p)
        self.struct.pos = ctypes.cast(self.pos.ctypes.data, int32_p)
        self.struct.n_seq_id = ctypes.cast(self.n_seq_id.ctypes.data, int32_p)
        self.struct.seq_id = ctypes.cast(self._seq_id_pointers.ctypes.data, ctypes.POINTER(int32_p))
        self.struct.logits = ctypes.cast(self.output.ctypes.data, ctypes.POINTER(ctypes.c_int8))

    def fill(self, spans: Sequence[Span]) -> int:
        """Returns the number of outputs."""
        if all(len(span.tokens) == 1 for span in spans):
            return self._fill_single(spans)
        end = 0
        for span in spans:
            begin, end = end, end + len(span.tokens)
            self.token[begin:end] = span.tokens
            self.pos[begin:end] = self._ramp[: end - begin] + span.start
            self.seq_id[begin:end] = span.slot
            self.output[begin:end] = 0
            if span.outputs:
                self.output[end - span.outputs : end] = 1
        self.struct.n_tokens = end
        return sum(span.outputs for span in spans)

    def _fill_single(self, spans: Sequence[Span]) -> int:
        """PERF: a pure decode step, filled by columns."""
        end = len(spans)
        outputs = [span.outputs for span in spans]
        self.token[:end] = [span.tokens[0] for span in spans]
        self.pos[:end] = [span.start for span in spans]
        self.seq_id[:end] = [span.slot for span in spans]
        self.output[:end] = outputs
        self.struct.n_tokens = end
        return sum(outputs)


def context_params(shape: ContextShape, *, n_threads: int) -> Any:
    params = bindings.llama_context_default_params()
    params.n_ctx = shape.n_ctx_seq * shape.n_slots
    params.n_seq_max = shape.n_slots
    params.n_batch = shape.n_batch
    params.n_ubatch = shape.n_ubatch
    params.n_outputs_max = shape.n_outputs
    params.n_threads = params.n_threads_batch = n_threads
    params.type_k = KV_TYPES[shape.type_k]
    params.type_v = KV_TYPES[shape.type_v]
    # Without flash attention llama.cpp refuses values that are quantised.
    flash_attention = shape.flash_attention if shape.type_v in _PLAIN_VALUES else "auto"
    params.flash_attn_type = _FLASH_ATTENTION[flash_attention]
    # Layers with a sliding window keep the window and not the whole context (the default keeps all).
    params.swa_full = False
    # A pooled sequence must be computed in one pass; a batch over streams of unequal lengths is split.
    params.kv_unified = shape.pooling is not None
    params.no_perf = True
    if shape.pooling is not None:
        params.embeddings = True
        params.pooling_type = shape.pooling
    return params


class LlamaContext:
    """Owned by the engine's thread: the runner's main thread."""

    def __init__(
        self, model: LlamaModel, shape: ContextShape, *, n_threads: int, threadpool: Threadpool | None = None
    ) -> None:
        """Raises ModelInvalid."""
        params = context_params(shape, n_threads=n_threads)
        log.clear()
        self.handle = bindings.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise ModelInvalid(
                model=model.name,
                reason=f"no context of {shape.n_slots} x {shape.n_ctx_seq} tokens: {log.reason()}",
            )
        self.model = model
        self.n_vocab = model.n_vocab
        self.n_slots = shape.n_slots
        # Both as llama.cpp has them, and no more than was asked: it cuts a causal batch to the cells of all
        # slots and aborts at a larger one, and it rounds cells up, past what positions the model has.
        self.n_batch = min(shape.n_batch, int(bindings.llama_n_batch(self.handle)))
        self.cells_per_slot = int(bindings.llama_n_ctx_seq(self.handle))
        self.n_ctx_seq = min(shape.n_ctx_seq, self.cells_per_slot)
        self._memory: Any = bindings.llama_get_memory(self.handle)
        self._batch = _Batch(shape.n_batch)
        self._n_outputs = 0
        self._logits: NDArray[np.float32] | None = None
        self._views: dict[tuple[int, int], NDArray[np.float32]] = {}
        if threadpool is not None:
            threadpool.attach(self.handle)

    @property
    def pooling(self) -> str:
        return _POOLING.get(bindings.llama_pooling_type(self.handle), "none")

    # ── compute ──────────────────────────────────────────────────────────────────────────────────

    def decode(self, spans: Sequence[Span]) -> None:
        """Compute a batch of at most `n_batch` tokens; spans in ascending slot order. Raises EngineFault;
        slots are then undefined.
        """
        self._n_outputs = self._batch.fill(spans)
        self._logits = None
        code = bindings.llama_decode(self.handle, self._batch.struct)
        if code != 0:
            raise EngineFault(reason=f"llama_decode returned {code}: {log.reason()}")

    def encode_pooled(self, spans: Sequence[Span]) -> None:
        """`decode` for embedding models: every token is an output."""
        self._batch.fill(spans)
        run = bindings.llama_decode if self._memory else bindings.llama_encode
        code = run(self.handle, self._batch.struct)
        if code != 0:
            raise EngineFault(reason=f"the embedding batch failed with {code}: {log.reason()}")

    def logits(self, row: int) -> NDArray[np.float32]:
        """Logits of output number `row`: float32[n_vocab], a view that the next decode changes."""
        if self._logits is None:
            self._logits = self._all_logits()
        row_view: NDArray[np.float32] = self._logits[row]
        return row_view

    def _all_logits(self) -> NDArray[np.float32]:
        """PERF: one call a batch, and one array as long as llama.cpp keeps its buffer. It brings the outputs
        into the batch's order before it answers.
        """
        address = _logits_address(self.handle)
        if not address or not self._n_outputs:
            raise EngineFault(reason="the batch has no logits")
        key = (address, self._n_outputs)
        view = self._views.get(key)
        if view is None:
            buffer = (ctypes.c_float * (self._n_outputs * self.n_vocab)).from_address(address)
            view = np.frombuffer(buffer, np.float32).reshape(self._n_outputs, self.n_vocab)
            self._views[key] = view
        return view

    def pooled(self, slot: int, width: int) -> NDArray[np.float32]:
        """The pooled embedding of a slot, or its rank score with `width` 1; a copy."""
        pointer = bindings.llama_get_embeddings_seq(self.handle, slot)
        if not pointer:
            raise EngineFault(reason=f"no embedding for sequence {slot}")
        return np.ctypeslib.as_array(pointer, shape=(width,)).copy()

    # ── slots ────────────────────────────────────────────────────────────────────────────────────

    def truncate(self, slot: int, n_tokens: int) -> bool:
        """Keep the first `n_tokens` of a slot. False: this memory cannot be cut there; nothing changed."""
        if self._memory is None:
            return True
        return bool(bindings.llama_memory_seq_rm(self._memory, slot, n_tokens, -1))

    def first_position(self, slot: int) -> int:
        """The first position a slot still holds, -1 when empty; above 0 in a sliding-window cache."""
        return int(bindings.llama_memory_seq_pos_min(self._memory, slot))

    def slot_bytes(self, slot: int) -> int:
        return int(bindings.llama_state_seq_get_size(self.handle, slot))

    def read_slot(self, slot: int) -> NDArray[np.uint8]:
        """The content of a slot as bytes: only the cells in use, unlike a stream copy, which moves the whole
        stream.
        """
        size = bindings.llama_state_seq_get_size(self.handle, slot)
        data = np.empty(size, np.uint8)
        pointer = (ctypes.c_uint8 * size).from_address(data.ctypes.data)
        written = bindings.llama_state_seq_get_data(self.handle, pointer, size, slot)
        if written != size:
            raise EngineFault(reason=f"slot {slot} gave {written} of {size} bytes")
        return data

    def write_slot(self, slot: int, data: NDArray[np.uint8]) -> None:
        """Replace the content of a slot by what `read_slot` gave."""
        bindings.llama_memory_seq_rm(self._memory, slot, -1, -1)
        pointer = (ctypes.c_uint8 * data.size).from_address(data.ctypes.data)
        read = bindings.llama_state_seq_set_data(self.handle, pointer, data.size, slot)
        if read == 0:
            raise EngineFault(reason=f"slot {slot} did not take {data.size} bytes")

    def clear(self) -> None:
        if self._memory is not None:
            bindings.llama_memory_clear(self._memory, False)

    # ── settings ─────────────────────────────────────────────────────────────────────────────────

    def set_threads(self, n_threads: int) -> None:
        bindings.llama_set_n_threads(self.handle, n_threads, n_threads)

    def set_adapters(self, scales: Sequence[tuple[str, float]]) -> None:
        """The LoRA adapters of all following decodes. A context has one set at a time."""
        handles: Any = (bindings.llama_adapter_lora_p_ctypes * len(scales))()
        handles[:] = [self.model.adapter(name) for name, _ in scales]
        values = (ctypes.c_float * len(scales))(*[scale for _, scale in scales])
        if bindings.llama_set_adapters_lora(self.handle, handles, len(scales), values) != 0:
            raise EngineFault(reason="llama.cpp refused the adapters")

    def close(self) -> None:
        if self.handle:
            bindings.llama_free(self.handle)
            self.handle = None
