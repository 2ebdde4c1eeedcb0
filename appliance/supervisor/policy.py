"""What the operator decides about queues and runners, and what is known of a model before it runs. Facts
only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from appliance.supervisor.device import Device
from appliance.wire.messages import Adapter, AdapterScale, EngineSettings, Hibernation, Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    max_running: int = 64
    """Leases at once, per model."""
    max_waiting: int = 128
    """Over all models, beside those for whom a lease is free once their model is there."""
    background_max_wait_s: float = 60.0
    """A background request that has waited for so long counts as a realtime one."""
    patience_s: float = 300.0
    """Longest wait of a request from its arrival to `Accepted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPolicy:
    heartbeat_timeout_s: float = 10.0
    """A runner silent for longer is killed."""
    load_timeout_s: float = 300.0
    stall_timeout_s: float = 60.0
    """A runner that beats and computes nothing for its requests for longer is killed."""
    canary_interval_s: float = 0.0
    """How often an idle one is asked for a token; 0: never."""
    stop_timeout_s: float = 5.0
    """From the wish to stop to SIGKILL."""
    max_crashes: int = 3
    """Crashes in a row, with no success in between, before quarantine."""
    backoff_s: float = 0.5
    """Before the second attempt; doubles with each further crash."""
    max_backoff_s: float = 60.0
    quarantine_s: float = 600.0
    gpu: str | None = None
    """The GPU that this board has, for people; None: none is known."""
    sandbox: str = "auto"
    """auto | strict | off"""
    hibernation: Callable[[ModelSpec], Hibernation | None] = lambda _spec: None
    """Where a model's runner keeps KV state on disk; asked at each start, on the main thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidencyPolicy:
    """Who stays in memory when there is not enough of it for all."""

    turn_s: float = 5.0
    """A model that waits for longer than this for memory that a busy one holds gets its turn: the busy one
    takes no new requests, finishes those it has, and makes room.
    """
    min_residency_s: float = 2.0
    """A model is not evicted for another one before it has served for so long."""
    parallel_share: float = 0.5
    """Part of what is free that a model with more than the comfortable number of slots may fill."""
    max_swaps_per_min: int = 20
    """Evictions for the sake of another model; the next one waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefaults:
    """What a stored model says where a request says nothing. Applied at the door (`api/openai/`)."""

    sampling: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Fields of the API's sampling (`api/dialect/fields.SamplingFields`) by name; checked there once more."""
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    """None or negative: to the end of the context."""
    system: str | None = None
    """Put in front of a chat that has no system message."""
    messages: tuple[Mapping[str, Any], ...] = ()
    """A conversation that comes before every chat, as OpenAI's message objects."""
    adapters: tuple[AdapterScale, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model the daemon may run."""

    name: str
    path: str
    """The GGUF; the first part of a split one."""
    placement: Placement
    paths: tuple[str, ...] = ()
    """All parts of a split GGUF, in order; empty: `path` is the whole model."""
    chat_template: str | None = None
    """A Jinja source that replaces the GGUF's."""
    defaults: ModelDefaults = field(default_factory=ModelDefaults)
    broken: str | None = None
    """Why it cannot be served (its bytes have changed); requests are then answered with ModelBroken."""
    size_bytes: int | None = None
    """Of all its files, to show; None: that of `path`."""
    settings: EngineSettings = field(default_factory=EngineSettings)
    draft_path: str | None = None
    adapters: tuple[Adapter, ...] = ()
    preload: bool = False
    """Started with the daemon, and started again (with back-off) when its runner dies."""
    keep_alive_s: float = math.inf
    """How long it stays in memory after its last request; infinite: until memory is needed."""
    pin: bool = False
    """Never evicted: neither for another model nor under pressure nor for idleness."""
    smaller: tuple[ModelSpec, ...] = ()
    """Models that are loaded in its place, under its name, where memory does not hold it: the first first."""
    device: Device = Device.PREFER_GPU
    min_ctx: int = 0
    """Tokens of context below which it is refused rather than served; 0: the planner's own least."""
    optimized: str | None = None
    """Which variant of its weights these files are, or why they are none; to show."""
    hint: str | None = None
    """What there may be to gain by one; to show."""
    calibrated: str | None = None
    """What was measured of it on this board, or why that is not used; to show."""

    @property
    def files(self) -> tuple[str, ...]:
        """Everything its runner reads."""
        draft = () if self.draft_path is None else (self.draft_path,)
        return (*(self.paths or (self.path,)), *(adapter.path for adapter in self.adapters), *draft)

    def loads_like(self, other: ModelSpec) -> bool:
        """Whether a runner of one is a runner of the other: they differ in what no runner knows."""
        same = replace(
            other,
            name=self.name,
            defaults=self.defaults,
            preload=self.preload,
            size_bytes=self.size_bytes,
            keep_alive_s=self.keep_alive_s,
            pin=self.pin,
            min_ctx=self.min_ctx,
            smaller=self.smaller,
            optimized=self.optimized,
            hint=self.hint,
            calibrated=self.calibrated,
        )
        return same == self
