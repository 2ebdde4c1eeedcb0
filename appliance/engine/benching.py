"""One model under any placement: a piece of work, and how long it took.

    placement ─► load (kept by layout of weights) ─► contexts (kept by placement) ─► prefill or decode

What is kept is bounded: as many loads as the order allows, the contexts of the two placements used last. A
placement that comes again so costs nothing, which is what lets two be measured in turn.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from appliance.engine.backend import Span
from appliance.engine.context_shape import LEAST_CTX, N_BATCH, ContextShape
from appliance.engine.cores import compute_cores
from appliance.engine.llama.context import LlamaContext
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import initialise
from appliance.engine.llama.load_mode import is_mapped
from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.threadpool import Threadpool
from appliance.errors import EngineFault, InvalidRequest, ModelInvalid
from appliance.hardware import cpu
from appliance.wire.calibrate import Bench, Kind, NotTaken, Piece, Take, Taken
from appliance.wire.messages import Placement

_MOST_BENCHES: Final = 2
_DECODE_CONTEXT: Final = 128
"""Tokens of each sequence that decodes beside others."""
_TOLD_TICKS: Final = 20
"""Of all cores: below it a share of them is a guess (100 ticks a second)."""
_PRIME: Final = 7919
"""Spreads the tokens of a prompt over the vocabulary, as a text does: experts are chosen by them."""


class _Work(NamedTuple):
    tokens: int
    seconds: float
    """What it takes."""
    elapsed_s: float
    """What it took."""


class _Layout(NamedTuple):
    """What a load depends on."""

    repack: bool
    own_kernels: bool
    use_mmap: bool
    n_gpu_layers: int


@dataclass(slots=True, kw_only=True)
class _Bench:
    """The contexts of one placement."""

    reading: LlamaContext
    """One slot, a window long."""
    decoding: LlamaContext
    """Many slots, short."""
    n_threads: int
    n_ubatch: int
    opened: ExitStack
    read: int = 0
    """Tokens that the reading slot holds."""
    leads: int = 0
    """Sequences of `decoding` that hold their lead."""
    lead: int = 0
    """Its tokens."""


@dataclass(slots=True, kw_only=True)
class _Loaded:
    model: LlamaModel
    is_mapped: bool
    benches: dict[Placement, _Bench] = field(default_factory=dict)

    def close(self) -> None:
        for bench in self.benches.values():
            bench.opened.close()
        self.benches.clear()
        self.model.close()


class Benches:
    """Owned by the main thread of the child."""

    def __init__(self, order: Bench, on_progress: Callable[[float], None]) -> None:
        initialise()
        self._order = order
        self._on_progress = on_progress
        self._loaded: dict[_Layout, _Loaded] = {}

    def take(self, order: Take) -> Taken | NotTaken:
        """Raises InvalidRequest for a model that generates no text, and ModelInvalid where it loads under no
        placement.
        """
        before, own_before = cpu.read_times(), cpu.read_own_ticks()
        try:
            loaded, bench, work = self._measured(order)
        except (EngineFault, ModelInvalid) as fault:
            if not self._loaded and isinstance(fault, ModelInvalid):
                raise
            return NotTaken(reason=fault.message)
        return Taken(
            tokens=work.tokens,
            seconds=work.seconds,
            elapsed_s=work.elapsed_s,
            n_threads=bench.n_threads,
            window=bench.reading.n_ctx_seq,
            width=bench.decoding.n_slots,
            is_mapped=loaded.is_mapped,
            kernels=loaded.model.kernels,
            others_share=_others_share(before, own_before),
        )

    def close(self) -> None:
        for loaded in self._loaded.values():
            loaded.close()
        self._loaded.clear()

    def _measured(self, order: Take) -> tuple[_Loaded, _Bench, _Work]:
        piece = order.piece
        layout = _layout(order)
        began_s = time.perf_counter()
        if piece.kind is Kind.LOAD:
            self._drop(layout)
        loaded = self._load(layout)
        load_s = time.perf_counter() - began_s
        bench = self._bench(loaded, order.placement)
        if piece.kind is Kind.LOAD:
            return loaded, bench, _Work(tokens=0, seconds=load_s, elapsed_s=load_s)
        work = _prefill if piece.kind is Kind.PREFILL else _decode
        return loaded, bench, work(bench, loaded.model, piece)

    # ── what is kept ────────────────────────────────────────────────────────────────────────────────

    def _load(self, layout: _Layout) -> _Loaded:
        found = self._loaded.pop(layout, None)
        if found is None:
            while len(self._loaded) >= max(1, self._order.most_models):
                self._drop(next(iter(self._loaded)))
            found = self._fresh(layout)
        self._loaded[layout] = found
        return found

    def _fresh(self, layout: _Layout) -> _Loaded:
        order = self._order
        kernels.enable(wanted=layout.own_kernels)
        model = LlamaModel(
            order.paths[0],
            name=order.model,
            n_gpu_layers=layout.n_gpu_layers,
            use_mmap=layout.use_mmap,
            repack=layout.repack,
            on_progress=self._on_progress,
            paths=order.paths if len(order.paths) > 1 else (),
        )
        try:
            _require_text(model)
            mapped = layout.use_mmap and is_mapped(
                order.paths, n_gpu_layers=layout.n_gpu_layers, repack=layout.repack
            )
        except BaseException:
            model.close()
            raise
        return _Loaded(model=model, is_mapped=mapped)

    def _drop(self, layout: _Layout) -> None:
        loaded = self._loaded.pop(layout, None)
        if loaded is not None:
            loaded.close()

    def _bench(self, loaded: _Loaded, placement: Placement) -> _Bench:
        found = loaded.benches.pop(placement, None)
        if found is None:
            while len(loaded.benches) >= _MOST_BENCHES:
                loaded.benches.pop(next(iter(loaded.benches))).opened.close()
            found = _opened(loaded.model, placement, self._order)
        loaded.benches[placement] = found
        return found


def _layout(order: Take) -> _Layout:
    placement = order.placement
    return _Layout(
        repack=placement.repack,
        own_kernels=order.own_kernels,
        use_mmap=placement.use_mmap,
        n_gpu_layers=placement.n_gpu_layers,
    )


def _opened(model: LlamaModel, placement: Placement, order: Bench) -> _Bench:
    """Both contexts, warmed up: buffers are there and pages are in before anything is measured."""
    n_threads, cores = compute_cores(placement)
    opened = ExitStack()
    try:
        pool = Threadpool(n_threads, cpus=cores)
        opened.callback(pool.close)
        window = min(order.window, model.n_ctx_train or order.window)
        shape = ContextShape(
            n_ctx_seq=window,
            n_slots=1,
            n_batch=min(N_BATCH, window),
            n_ubatch=placement.n_ubatch,
            n_outputs=1,
            type_k=placement.type_k,
            type_v=placement.type_v,
            flash_attention=placement.flash_attention,
        )
        reading = LlamaContext(model, shape, n_threads=n_threads, threadpool=pool)
        opened.callback(reading.close)
        short = min(_DECODE_CONTEXT, window)
        many = replace(
            shape, n_ctx_seq=short, n_slots=order.width, n_batch=short * order.width, n_outputs=order.width
        )
        decoding = LlamaContext(model, many, n_threads=n_threads, threadpool=pool)
        opened.callback(decoding.close)
        for context in (reading, decoding):
            context.decode([Span(0, 0, _tokens(model, 0, min(4, window - 1)), 1)])
            context.clear()
    except BaseException:
        opened.close()
        raise
    return _Bench(
        reading=reading,
        decoding=decoding,
        n_threads=n_threads,
        n_ubatch=min(placement.n_ubatch, reading.n_batch),
        opened=opened,
    )


# ── pieces ──────────────────────────────────────────────────────────────────────────────────────────────────


def _prefill(bench: _Bench, model: LlamaModel, piece: Piece) -> _Work:
    """Tokens behind `start` ones, which are there or are computed first."""
    count = _room(bench.reading, piece)
    _fill(bench, model, piece.start)
    began_s = time.perf_counter()
    done = _read(bench, model, count, most_s=piece.most_s)
    elapsed_s = _since(began_s)
    return _Work(tokens=done, seconds=elapsed_s, elapsed_s=elapsed_s)


def _decode(bench: _Bench, model: LlamaModel, piece: Piece) -> _Work:
    if piece.width == 1:
        return _decode_one(bench, model, piece)
    steps = _room(bench.decoding, piece)
    width = min(piece.width, bench.decoding.n_slots)
    _take_lead(bench, model, width, piece.start)
    token = _tokens(model, piece.start, 1)
    return _stepped(
        bench.decoding,
        lambda step: [Span(slot, piece.start + step, token, 1) for slot in range(width)],
        steps=steps,
        most_s=piece.most_s,
    )


def _decode_one(bench: _Bench, model: LlamaModel, piece: Piece) -> _Work:
    """In the slot that reads, so that it can be far into a text."""
    steps = _room(bench.reading, piece)
    _fill(bench, model, piece.start)
    token = _tokens(model, piece.start, 1)
    work = _stepped(
        bench.reading,
        lambda step: [Span(0, piece.start + step, token, 1)],
        steps=steps,
        most_s=piece.most_s,
    )
    bench.read += work.tokens
    return work


def _stepped(
    context: LlamaContext, spans: Callable[[int], list[Span]], *, steps: int, most_s: float
) -> _Work:
    began_s = time.perf_counter()
    taken: list[float] = []
    tokens = 0
    for step in range(steps):
        step_s = time.perf_counter()
        batch = spans(step)
        context.decode(batch)
        context.logits(0)
        taken.append(_since(step_s))
        tokens += len(batch)
        if _since(began_s) > most_s:
            break
    return _Work(tokens=tokens, seconds=statistics.median(taken) * len(taken), elapsed_s=_since(began_s))


def _since(then_s: float) -> float:
    return max(time.perf_counter() - then_s, 1e-9)


def _fill(bench: _Bench, model: LlamaModel, start: int) -> None:
    """Let the reading slot hold exactly `start` tokens."""
    if bench.read > start and (start == 0 or not bench.reading.truncate(0, start)):
        bench.reading.clear()
        bench.read = 0
    bench.read = min(bench.read, start)
    if bench.read < start:
        _read(bench, model, start - bench.read)


def _read(bench: _Bench, model: LlamaModel, count: int, *, most_s: float = math.inf) -> int:
    """A ubatch at a time, as llama.cpp would compute it; returns how many tokens there was time for."""
    began_s = time.perf_counter()
    done = 0
    while done < count and (done == 0 or _since(began_s) < most_s):
        size = min(bench.n_ubatch, count - done)
        tokens = _tokens(model, bench.read, size)
        bench.reading.decode([Span(0, bench.read, tokens, 1)])
        bench.reading.logits(0)  # where another device computes, this waits for it
        bench.read += size
        done += size
    return done


def _take_lead(bench: _Bench, model: LlamaModel, width: int, lead: int) -> None:
    """Cut back to the lead what holds more, compute it where it is not there."""
    context = bench.decoding
    kept = bench.lead == lead and all(context.truncate(slot, lead) for slot in range(bench.leads))
    if not kept:
        context.clear()  # a recurrent memory cannot be cut
        bench.leads = 0
    if width > bench.leads:
        tokens = _tokens(model, 0, lead)
        context.decode([Span(slot, 0, tokens, 1) for slot in range(bench.leads, width)])
        bench.leads, bench.lead = width, lead


def _room(context: LlamaContext, piece: Piece) -> int:
    """Tokens of the piece that the context has room for. Raises EngineFault: for none."""
    count = min(piece.tokens, context.n_ctx_seq - piece.start)
    if count < 1 or piece.start < 0:
        raise EngineFault(reason=f"{piece.start} tokens and more in a context of {context.n_ctx_seq}")
    return count


def _tokens(model: LlamaModel, start: int, count: int) -> Sequence[int]:
    """The same at every call: what one placement computes, another does, too."""
    end = next((token for token in range(model.n_vocab) if not model.is_end(token)), 0)
    found = ((start + number) * _PRIME % model.n_vocab for number in range(1, count + 1))
    return [end if model.is_end(token) else token for token in found]


def _require_text(model: LlamaModel) -> None:
    """Raises InvalidRequest."""
    architecture = model.meta("general.architecture") or ""
    stored = model.meta(f"{architecture}.pooling_type")
    pools = stored is not None and int(stored) > 0
    if not model.generates or model.has_encoder or pools:
        raise InvalidRequest(
            reason=f"'{model.name}' generates no text: how it is best served is not measured", param="name"
        )
    if 0 < model.n_ctx_train < 2 * LEAST_CTX:
        raise InvalidRequest(
            reason=f"'{model.name}' was made for {model.n_ctx_train} tokens: too few to measure", param="name"
        )


def _others_share(before: dict[int, cpu.CoreTimes], own_before: int | None) -> float | None:
    after, own = cpu.read_times(), cpu.read_own_ticks()
    cores = before.keys() & after.keys()
    total = sum(after[core].total_ticks - before[core].total_ticks for core in cores)
    busy = sum(after[core].busy_ticks - before[core].busy_ticks for core in cores)
    if total < _TOLD_TICKS or own is None or own_before is None:
        return None
    return round(min(1.0, max(0.0, (busy - (own - own_before)) / total)), 3)
