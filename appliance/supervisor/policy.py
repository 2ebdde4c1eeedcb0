"""What the operator decides about queues and runners, and what is known of a model before it runs. Facts
only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.wire.messages import Adapter, EngineSettings, Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """Per model."""

    max_running: int = 64
    """Leases at once."""
    max_waiting: int = 128
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
class ModelSpec:
    """A model the daemon may run."""

    name: str
    path: str
    placement: Placement
    settings: EngineSettings = field(default_factory=EngineSettings)
    draft_path: str | None = None
    adapters: tuple[Adapter, ...] = ()
    preload: bool = False
    """Started with the daemon, and started again (with back-off) when its runner dies."""
