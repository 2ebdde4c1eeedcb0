"""What a probe is asked and answers, its limits, and the runner it needs. Facts only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import FileUnreadable, ModelInvalid
from appliance.gguf.header import read_header
from appliance.gguf.shape import read_shape
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.preflight import stamp
from appliance.wire.messages import (
    Adapter,
    EngineSettings,
    ModelFacts,
    Placement,
)

_MIB: Final = 1024 * 1024
_LEAST_S: Final = 30.0
_BYTES_PER_S: Final = 100_000_000
_SPARE_BYTES: Final = 1024 * _MIB
"""Beside the weights: libraries, context, compute buffers of a large vocabulary."""
PROBE_PLACEMENT: Final = Placement(n_ctx_seq=256, n_seq_max=1, kv_cells=256, n_ubatch=64)
_ROW_BYTES: Final = 8
"""Of attention's mask, for each token of the context and each that is computed at once, and its copy."""
_WIDTH_BYTES: Final = 128
"""Of activations, for each number of a token's width and each token that is computed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """All files of one model, as a runner would get them."""

    model: str
    paths: tuple[Path, ...]
    """More than one: the parts of a split GGUF, in order."""
    adapters: tuple[Path, ...] = ()
    draft: Path | None = None
    template: str | None = None
    """Jinja that replaces the GGUF's own; at fault: TemplateInvalid. None: the GGUF's; its fault is told."""
    placement: Placement = PROBE_PLACEMENT
    own_kernels: bool = True
    timeout_s: float | None = None
    """None: 30 s and 1 s for each 100 MB."""
    memory_limit_bytes: int | None = None
    """None: twice the files (weights may be held in two layouts) and 1 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    facts: ModelFacts
    template_error: str | None
    """Why it cannot chat; completions work."""
    load_s: float
    seconds: float
    peak_rss_bytes: int
    """As seen every quarter of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    timeout_s: float
    memory_bytes: int
    context_bytes: int = 0
    """What may be reserved beside that for a large context; one token touches little of it."""
    needed_bytes: int
    """What a good model of this size takes; the machine is to blame where it has less."""

    @classmethod
    def of(cls, request: ProbeRequest, size_bytes: int, *, context_bytes: int = 0) -> Limits:
        memory_bytes = request.memory_limit_bytes
        return cls(
            timeout_s=request.timeout_s or _LEAST_S + size_bytes / _BYTES_PER_S,
            memory_bytes=2 * size_bytes + _SPARE_BYTES if memory_bytes is None else memory_bytes,
            context_bytes=context_bytes,
            needed_bytes=size_bytes + _SPARE_BYTES // 4,
        )


def spec_of(request: ProbeRequest) -> ModelSpec:
    paths = tuple(str(path) for path in request.paths)
    named = zip(adapter_names(request), request.adapters, strict=True)
    return ModelSpec(
        name=request.model,
        path=paths[0],
        placement=request.placement,
        paths=paths if len(paths) > 1 else (),
        chat_template=request.template,
        settings=EngineSettings(
            speculation=request.draft is not None,
            prefix_reuse=False,
            adapt_threads=False,
            own_kernels=request.own_kernels,
        ),
        draft_path=None if request.draft is None else str(request.draft),
        adapters=tuple(Adapter(name=name, path=str(path)) for name, path in named),
    )


def adapter_names(request: ProbeRequest) -> list[str]:
    return [f"adapter-{number}" for number in range(1, len(request.adapters) + 1)]


def size_of(request: ProbeRequest) -> int:
    """Of all files; what cannot be seen counts nothing: the launch will name it."""
    files = (*request.paths, *request.adapters, *(() if request.draft is None else (request.draft,)))
    found = [stamp(str(path)) for path in files]
    return sum(one.size_bytes for one in found if one is not None)


def context_bytes_of(request: ProbeRequest) -> int:
    """What a context larger than the probe's own takes, of the model and its draft, as their headers tell. A
    file that cannot be read takes nothing: the launch will name it.
    """
    placement = request.placement
    if placement.n_ctx_seq <= PROBE_PLACEMENT.n_ctx_seq and placement.n_ubatch <= PROBE_PLACEMENT.n_ubatch:
        return 0
    files = (request.paths[0], *(() if request.draft is None else (request.draft,)))
    return sum(_context_bytes(path, placement) for path in files)


def _context_bytes(path: Path, placement: Placement) -> int:
    try:
        shape = read_shape(read_header(path))
    except (FileUnreadable, ModelInvalid):
        return 0
    n_ctx = min(placement.n_ctx_seq, shape.n_ctx_train or placement.n_ctx_seq)
    # What pools sees a whole context at once.
    at_once = max(n_ctx, placement.n_ubatch) if shape.pooling_type else placement.n_ubatch
    return n_ctx * shape.kv_bytes_per_token + at_once * (
        _ROW_BYTES * n_ctx + _WIDTH_BYTES * (shape.n_embd or 0)
    )
