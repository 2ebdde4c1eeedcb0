"""What the door is made of: `daemon/composition.py` gives it, `app.py` and `routes.py` use it.

Where a part is None, there are no routes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.access.audit import Audit
from appliance.access.claims import Claims
from appliance.access.key_store import KeyStore
from appliance.access.keys import KeyRing
from appliance.api.accounting import Accounting
from appliance.api.calls import Limits
from appliance.api.device import Snapshots
from appliance.api.exchange import Observer
from appliance.api.health import Report
from appliance.api.key_middleware import Guard, Verifier
from appliance.api.openai.responses.kept import ResponseLimits
from appliance.api.registry import ReadableLayout
from appliance.api.resuming.kept_streams import KeptStreams, ResumeLimits
from appliance.hardware.report import HardwareReport
from appliance.store.verbs import StoreVerbs
from appliance.supervisor.inference import Inference


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """By which names it is called, and from where."""

    host_names: Sequence[str] = ()
    """Beside localhost, `*.local` and addresses."""
    allowed_origins: Sequence[str] = ()
    """Web pages that may use it, as `https://host[:port]`."""
    trusted_proxies: Sequence[str] = ()
    """Who may say on whose behalf it calls (`caller.py`)."""
    trusted_subnets: Sequence[str] = ()
    """Whose clients may infer without a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who may ask, and how much."""

    keys: Verifier | None = None
    """None: those of `key_store`. None at all: open, which is right on loopback only."""
    key_store: KeyStore | None = None
    """What `/outpost/v1/keys` changes."""
    claims: Claims | None = None
    """What `/outpost/v1/claim` takes."""
    guard: Guard | None = None
    """Hears of wrong keys; None: `accounting` does."""
    accounting: Accounting | None = None
    """Quotas and usage; None: nobody is counted or bounded."""

    @property
    def verifier(self) -> Verifier:
        return next((one for one in (self.keys, self.key_store) if one is not None), KeyRing({}))

    @property
    def wrong_keys(self) -> Guard | None:
        return self.accounting.wrong_keys if self.guard is None and self.accounting else self.guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The model store."""

    store: StoreVerbs | None = None
    layout: ReadableLayout | None = None
    """What of it `/v2` gives to others."""
    audit: Audit | None = None
    """Is told of its changes; None: nobody is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Mostly the two sides of one `telemetry.prometheus.Prometheus`."""

    observer: Observer | None = None
    render_metrics: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    board: Callable[[], HardwareReport] | None = None
    """One sample of it."""
    snapshots: Snapshots | None = None
    """The prompts on its disk."""


def _no_streams() -> KeptStreams:
    return KeptStreams(ResumeLimits(keep_s=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Answers that outlive their requests."""

    responses: ResponseLimits = field(default_factory=ResponseLimits)
    """How many answers of `/v1/responses`, and for how long."""
    streams: KeptStreams = field(default_factory=_no_streams)
    """Those of connections that ended; closed by who made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    inference: Inference
    report: Report
    """Asked anew for every `/healthz` and `/readyz`."""
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    credentials: Credentials = field(default_factory=Credentials)
    stored: Stored = field(default_factory=Stored)
    metrics: Metrics = field(default_factory=Metrics)
    device: Device = field(default_factory=Device)
    kept: Kept = field(default_factory=Kept)
