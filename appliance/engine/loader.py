"""Opens an engine: model, context, template, warm-up. The composition root of a runner's inside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from appliance.engine.backend import Span
from appliance.engine.context_shape import (
    LEAST_CTX,
    ContextShape,
    draft_shape,
    generator_shape,
    n_ctx_seq,
    pooled_shape,
)
from appliance.engine.cores import compute_cores
from appliance.engine.draft import DraftModel
from appliance.engine.embedding_engine import EmbeddingEngine
from appliance.engine.engine import Engine
from appliance.engine.hibernation.opening import open_hibernation
from appliance.engine.interface import EngineCore
from appliance.engine.llama.context import LlamaContext, pooling_of
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import initialise, system_info
from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.offload import gpu_names
from appliance.engine.llama.sampler import Candidates
from appliance.engine.llama.threadpool import Threadpool
from appliance.engine.loaded_template import NoTemplate, chat_ability, template_of
from appliance.engine.meter import BoardView, Meter
from appliance.engine.pooling_preparation import PoolingPreparer
from appliance.engine.preparation import ChatAbility, Preparer
from appliance.engine.slots import choose_slots
from appliance.engine.template_format import PromptRenderer
from appliance.errors import GpuUnavailable, ModelInvalid, Unsupported
from appliance.hardware import cpu, meminfo
from appliance.wire.messages import (
    ApplyTemplate,
    Detokenize,
    Embed,
    Generate,
    Load,
    ModelFacts,
    Placement,
    Rerank,
    Tokenize,
)

_WARM_UP = ((1, 1), (8, 8), (1, 1), (8, 8), (1, 1), (32, 1))
"""Tokens and outputs of the warm-up steps. The first two page weights and buffers in; the others give the
cost models their first readings.
"""
_WARM_UP_COLD = 2


class OpenEngine(EngineCore, Protocol):
    """An engine that can be closed again; a runner just ends."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What every kind of engine stands on."""

    load: Load
    model: LlamaModel
    meter: Meter
    threadpool: Threadpool
    n_threads: int
    opened: ExitStack


def open_engine(load: Load, *, render: PromptRenderer, on_progress: Callable[[float], None]) -> OpenEngine:
    """Load a model and everything around it. Raises ModelInvalid, GpuUnavailable."""
    opened = ExitStack()
    try:
        return _open(load, render, on_progress, opened)
    except BaseException:
        opened.close()
        raise


def _open(
    load: Load, render: PromptRenderer, on_progress: Callable[[float], None], opened: ExitStack
) -> OpenEngine:
    initialise()
    if load.requires_gpu and not gpu_names():
        raise GpuUnavailable(model=load.model, reason="llama.cpp finds no GPU here")
    kernels.enable(wanted=load.settings.own_kernels)
    model = LlamaModel(
        load.path,
        name=load.model,
        n_gpu_layers=load.placement.n_gpu_layers,
        use_mmap=load.placement.use_mmap,
        repack=load.placement.repack,
        on_progress=on_progress,
        paths=load.paths,
    )
    opened.callback(model.close)
    _require_context(model)
    for adapter in load.adapters:
        model.load_adapter(adapter.name, adapter.path)
    n_threads, cpus = compute_cores(load.placement)
    meter = Meter(
        n_threads=n_threads,
        adapt=load.settings.adapt_threads,
        board=BoardView(
            idle_s=partial(_idle_s, cpus),
            rss_bytes=_rss_bytes,
            others_running=cpu.read_others_running,
            n_cores=os.cpu_count() or 1,
        ),
    )
    threadpool = Threadpool(n_threads, cpus=cpus)
    opened.callback(threadpool.close)
    base = _Base(
        load=load, model=model, meter=meter, threadpool=threadpool, n_threads=n_threads, opened=opened
    )
    pooling = pooling_of(load.placement, model)
    if pooling is not None:
        return _open_pooled(base, pooling)
    if model.is_diffusion:
        raise ModelInvalid(model=load.model, reason="it is a diffusion model: it does not write word by word")
    if not model.generates:
        raise ModelInvalid(model=load.model, reason="it neither generates text nor pools embeddings")
    return _open_generator(base, render)


def _open_generator(base: _Base, render: PromptRenderer) -> Engine:
    load, model = base.load, base.model
    speculates = load.settings.speculation and not model.keeps_state
    draft = _load_draft(base, load.draft_path) if load.draft_path is not None and speculates else None
    context, shape = _open_context(base, draft, speculates=speculates)
    proposer = _open_draft(base, draft, shape) if draft is not None else None
    template = template_of(load, model)
    chat = chat_ability(model, template, render, n_ctx_seq=context.n_ctx_seq)
    preparer = Preparer(
        model,
        n_ctx_seq=context.n_ctx_seq,
        n_slots=context.n_slots,
        render=render,
        chat=chat,
        speculation=speculates,
    )

    def prepare(request: Any, _is_wanted: Callable[[], bool]) -> Any:
        if isinstance(request, Generate):
            return preparer.generation(request)
        if isinstance(request, (Tokenize, Detokenize, ApplyTemplate)):
            return preparer.answer(request)
        raise Unsupported(
            feature="embeddings",
            reason=f"'{load.model}' generates text and pools nothing; configure its pooling "
            "(mean, cls, last) or serve an embedding model",
            param="model",
        )

    engine = Engine(
        context,
        model,
        facts=_facts(load.placement, model, context, chat, template, hibernates=load.hibernation is not None),
        settings=load.settings,
        candidates=Candidates(model.n_vocab),
        meter=base.meter,
        prepare=prepare,
        n_swa=model.n_swa,
        proposer=proposer,
        hibernation=open_hibernation(load, context, model),
        close=base.opened.close,
    )
    _warm_up(context, engine, model, n_outputs=shape.n_outputs)
    return engine


def _open_context(
    base: _Base, draft: LlamaModel | None, *, speculates: bool
) -> tuple[LlamaContext, ContextShape]:
    """With as many slots as the board's memory allows for both models."""
    model, placement = base.model, base.load.placement
    n_slots = choose_slots(
        wanted=placement.n_seq_max,
        n_ctx_seq=n_ctx_seq(placement, model.n_ctx_train),
        kv_cells=placement.kv_cells,
        bytes_per_cell=sum(
            one.kv_bytes_per_cell(placement.type_k, placement.type_v)
            for one in (model, draft)
            if one is not None
        ),
        available_bytes=meminfo.read().available_bytes,
    )
    shape = generator_shape(placement, n_ctx_train=model.n_ctx_train, n_slots=n_slots, speculates=speculates)
    context = LlamaContext(model, shape, n_threads=base.n_threads, threadpool=base.threadpool)
    base.opened.callback(context.close)
    return context, shape


def _load_draft(base: _Base, path: str) -> LlamaModel:
    name = f"{base.load.model} (its draft model)"
    draft = LlamaModel(
        path,
        name=name,
        n_gpu_layers=base.load.placement.n_gpu_layers,
        use_mmap=base.load.placement.use_mmap,
        repack=base.load.placement.repack,
    )
    base.opened.callback(draft.close)
    _require_context(draft)
    if not draft.same_vocabulary(base.model):
        raise ModelInvalid(model=name, reason="its vocabulary is not the model's")
    if draft.keeps_state:
        raise ModelInvalid(model=name, reason="it cannot take a wrong guess back: its memory is recurrent")
    return draft


def _open_draft(base: _Base, draft: LlamaModel, target: ContextShape) -> DraftModel:
    shape = draft_shape(target, n_ctx_train=draft.n_ctx_train)
    context = LlamaContext(draft, shape, n_threads=base.n_threads, threadpool=base.threadpool)
    base.opened.callback(context.close)
    proposer = DraftModel(context, is_end=draft.is_end, meter=base.meter, n_swa=draft.n_swa)
    proposer.warm_up(next(token for token in range(draft.n_vocab) if not draft.is_end(token)))
    return proposer


def _open_pooled(base: _Base, pooling: int) -> EmbeddingEngine:
    load, model = base.load, base.model
    shape = pooled_shape(load.placement, n_ctx_train=model.n_ctx_train, pooling=pooling)
    context = LlamaContext(model, shape, n_threads=base.n_threads, threadpool=base.threadpool)
    base.opened.callback(context.close)
    ranks = context.pooling == "rank"
    preparer = PoolingPreparer(model, n_ctx_seq=shape.n_ctx_seq, ranks=ranks)
    plain = Preparer(
        model,
        n_ctx_seq=shape.n_ctx_seq,
        n_slots=shape.n_slots,
        render=NoTemplate(load.model),
        chat=ChatAbility(facts=None, error="this model pools embeddings and does not chat"),
        speculation=False,
    )

    def prepare(request: Any, is_wanted: Callable[[], bool]) -> Any:
        if isinstance(request, (Embed, Rerank)):
            return preparer.pooled(request, is_wanted)
        if isinstance(request, (Tokenize, Detokenize)):
            return plain.answer(request)
        raise Unsupported(
            feature="generation",
            reason=f"'{load.model}' pools embeddings and generates no text",
            param="model",
        )

    return EmbeddingEngine(
        context,
        facts=_facts(load.placement, model, context, ChatAbility(facts=None), template_of(load, model)),
        width=1 if ranks else model.n_embd_out,
        meter=base.meter,
        prepare=prepare,
        step_bound_s=load.settings.step_bound_s,
        close=base.opened.close,
    )


def _require_context(model: LlamaModel) -> None:
    """Raises ModelInvalid for a model whose positions end within one step: llama.cpp would abort there."""
    if 0 < model.n_ctx_train < LEAST_CTX:
        raise ModelInvalid(
            model=model.name,
            reason=f"it was made for a context of {model.n_ctx_train} tokens; {LEAST_CTX} are the least",
        )


def _facts(
    placement: Placement,
    model: LlamaModel,
    context: LlamaContext,
    chat: ChatAbility,
    template: str | None,
    *,
    hibernates: bool = False,
) -> ModelFacts:
    return ModelFacts(
        n_ctx_train=model.n_ctx_train,
        n_ctx_seq=context.n_ctx_seq,
        n_seq_max=context.n_slots,
        n_vocab=model.n_vocab,
        n_embd=model.n_embd,
        n_params=model.n_params,
        size_bytes=model.size_bytes,
        description=model.description,
        has_chat_template=template is not None,
        chat_template_error=chat.error,
        tool_format=chat.facts.tool_format if chat.facts is not None else None,
        pooling=context.pooling,
        generates=context.pooling == "none",
        device=model.offload.device,
        n_gpu_layers=model.offload.n_layers,
        n_layers=model.n_layers,
        type_k=placement.type_k,
        type_v=placement.type_v,
        backend=system_info(),
        kernels=model.kernels,
        kernels_missing=kernels.missing,
        hibernates=hibernates,
    )


def _warm_up(context: LlamaContext, engine: Engine, model: LlamaModel, *, n_outputs: int) -> None:
    token = next(token for token in range(model.n_vocab) if not model.is_end(token))
    n_tokens = min(context.n_ctx_seq - 1, context.n_batch)
    for number, (wanted, wanted_outputs) in enumerate(_WARM_UP):
        count = min(wanted, n_tokens)
        outputs = min(count, wanted_outputs, n_outputs)
        began = time.perf_counter()
        context.decode([Span(0, 0, [token] * count, outputs)])
        if not np.isfinite(context.logits(0)).all():
            raise ModelInvalid(model=model.name, reason="its weights give logits that are not finite")
        if number >= _WARM_UP_COLD:
            engine.observe(passes=1, tokens=count, outputs=outputs, seconds=time.perf_counter() - began)
        context.clear()


def _idle_s(cpus: frozenset[int]) -> float | None:
    """Idle time of the cores we compute on (none named: all this process may use), from /proc/stat."""
    times = cpu.read_times()
    mine = cpus or os.sched_getaffinity(0)
    ticks = sum(core.total_ticks - core.busy_ticks for index, core in times.items() if index in mine)
    return ticks / os.sysconf("SC_CLK_TCK") if times else None


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
