"""One file of a model, opened to be judged: a context that reads text, one that decodes many sequences."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import Span
from appliance.engine.context_shape import ContextShape
from appliance.engine.llama.context import LlamaContext
from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.threadpool import Threadpool
from appliance.errors import InvalidRequest
from appliance.wire.judge import Judge

LEAD_TOKENS: Final = 8
"""What a sequence holds before its decoding is measured."""
_DECODE_CONTEXT: Final = 64
"""Tokens of each sequence: the lead, and the steps."""


@dataclass(slots=True)
class JudgedFile:
    """Owned by the judging thread."""

    model: LlamaModel
    reading: LlamaContext
    """One slot, a window long."""
    decoding: LlamaContext
    window: int
    opened: ExitStack
    lead: int = 0
    """Sequences that hold their lead."""

    @property
    def n_slots(self) -> int:
        return self.decoding.n_slots

    def close(self) -> None:
        self.opened.close()

    def clear(self) -> None:
        self.reading.clear()

    def logits_of(self, tokens: Sequence[int], *, start: int) -> NDArray[np.float32]:
        """Of every one of the tokens: float32[n, n_vocab], a copy."""
        self.reading.decode([Span(0, start, tokens, len(tokens))])
        return np.stack([self.reading.logits(row) for row in range(len(tokens))])

    def prefill(self, tokens: Sequence[int]) -> float:
        """Tokens per second of an empty slot's prompt."""
        self.reading.clear()
        began_s = time.perf_counter()
        self.reading.decode([Span(0, 0, tokens, 1)])
        self.reading.logits(0)  # where another device computes, this waits for it
        return len(tokens) / max(time.perf_counter() - began_s, 1e-9)

    def decode(self, width: int, steps: int) -> float:
        """Tokens per second of `width` sequences together, a token each in every step."""
        self._take_lead(width)
        token = self._token
        began_s = time.perf_counter()
        for step in range(steps):
            self.decoding.decode([Span(slot, LEAD_TOKENS + step, [token], 1) for slot in range(width)])
            self.decoding.logits(0)
        seconds = max(time.perf_counter() - began_s, 1e-9)
        return width * steps / seconds

    def _take_lead(self, width: int) -> None:
        """Cut back to the lead what holds more, compute it where it is not there."""
        slots = range(self.lead)
        if not all(self.decoding.truncate(slot, LEAD_TOKENS) for slot in slots):
            self.decoding.clear()  # a recurrent memory cannot be cut
            self.lead = 0
        if width > self.lead:
            tokens = [self._token] * LEAD_TOKENS
            self.decoding.decode([Span(slot, 0, tokens, 1) for slot in range(self.lead, width)])
            self.lead = width

    @property
    def _token(self) -> int:
        return next(token for token in range(self.model.n_vocab) if not self.model.is_end(token))


def open_file(
    paths: Sequence[str],
    order: Judge,
    *,
    n_threads: int,
    pool: Threadpool,
    window: int,
    chunk: int,
    on_progress: Callable[[float], None],
) -> JudgedFile:
    """As a runner would load it. Raises ModelInvalid, InvalidRequest."""
    placement = order.placement
    opened = ExitStack()
    try:
        model = LlamaModel(
            paths[0],
            name=order.model,
            n_gpu_layers=placement.n_gpu_layers,
            use_mmap=placement.use_mmap,
            repack=placement.repack,
            on_progress=on_progress,
            paths=paths if len(paths) > 1 else (),
        )
        opened.callback(model.close)
        _require_text(model, order)
        window = min(window, model.n_ctx_train or window)
        reading_shape = ContextShape(
            n_ctx_seq=window,
            n_slots=1,
            n_batch=window,
            n_ubatch=placement.n_ubatch,
            n_outputs=min(chunk, window),
            type_k=placement.type_k,
            type_v=placement.type_v,
        )
        reading = LlamaContext(model, reading_shape, n_threads=n_threads, threadpool=pool)
        opened.callback(reading.close)
        n_slots = max(1, min(max(order.widths, default=1), placement.n_seq_max))
        decoding_shape = replace(
            reading_shape,
            n_ctx_seq=_DECODE_CONTEXT,
            n_slots=n_slots,
            n_batch=_DECODE_CONTEXT * n_slots,
            n_outputs=n_slots,
        )
        decoding = LlamaContext(model, decoding_shape, n_threads=n_threads, threadpool=pool)
        opened.callback(decoding.close)
    except BaseException:
        opened.close()
        raise
    return JudgedFile(
        model=model,
        reading=reading,
        decoding=decoding,
        window=min(window, reading.n_ctx_seq),
        opened=opened,
    )


def _require_text(model: LlamaModel, order: Judge) -> None:
    architecture = model.meta("general.architecture") or ""
    stored = model.meta(f"{architecture}.pooling_type")
    pools = stored is not None and int(stored) > 0
    if not model.generates or model.has_encoder or pools or order.placement.pooling not in (None, "none"):
        raise InvalidRequest(
            reason=f"'{order.model}' generates no text: its variants are judged by the words they choose",
            param="name",
        )
