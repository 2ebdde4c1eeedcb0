"""What the operator decides about queues and runners, and what is known of a model before it runs. Facts
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from appliance.wire.messages import Adapter, AdapterScale, EngineSettings, Placement


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
    stop_timeout_s: float = 5.0
    """From the wish to stop to SIGKILL."""
    max_crashes: int = 3
    """Crashes in a row, with no success in between, before quarantine."""
    backoff_s: float = 0.5
    """Before the second attempt; doubles with each further crash."""
    max_backoff_s: float = 60.0
    quarantine_s: float = 600.0
    sandbox: str = "auto"
    """auto | strict | off"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefaults:
    """What a stored model says where a request says nothing. Applied at the door (`api/openai/`)."""

    sampling: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Fields of the API's sampling (`api/openai/fields.SamplingFields`) by name; checked there once more."""
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
        )
        return same == self
