"""The shapes of answers, for the OpenAPI document: errors, health, the queue, models in memory, the store.

Handlers write their answers as they are; tests hold what they write against these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from appliance.health.cooling import CoolingHealth
from appliance.health.report import HealthReport


class Answer(BaseModel):
    """Base of all answers; fields may be added in later versions."""


# ── errors ─────────────────────────────────────────────────────────────────────────────────────────────────


class ErrorFields(Answer):
    message: str
    """What happened, with numbers, and what to do."""
    type: str
    """OpenAI's class of the error."""
    param: str | None
    """The field at fault, as the caller wrote its path."""
    code: str
    """Fixed; programs go by it."""
    reason: str | None = None
    """Of `insufficient_memory`: what the GPU's driver said."""


class ErrorAnswer(Answer):
    """Every error, but those of `/v1/messages` and below `/v2` and `/api`."""

    error: ErrorFields


class RegistryErrorDetail(Answer):
    code: str
    """As `error.code` elsewhere."""


class RegistryError(Answer):
    code: str
    """One of OCI's distribution-spec."""
    message: str
    detail: RegistryErrorDetail


class RegistryErrorAnswer(Answer):
    """Every error below `/v2`."""

    errors: list[RegistryError]


# ── health ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAnswer(HealthReport):
    """The whole report, and the verdict."""

    status: Literal["ok", "not live"]
    live: bool
    ready: bool
    reasons: tuple[str, ...]
    """Why it is not ready."""
    degraded: tuple[str, ...]
    """What is worse than it should be, though requests are served."""
    warnings: tuple[str, ...]
    """What an operator has to know of the door."""


class Outline(Answer):
    """For who lacks the scope `system`: no names and no addresses."""

    details: str
    """What would tell more."""
    warnings: list[str]
    claim_pending: bool


class HealthOutline(Outline):
    status: Literal["ok", "not live"]
    live: bool
    ready: bool


class ModelReadiness(Answer):
    name: str
    state: str
    reason: str | None


class ReadinessAnswer(Answer):
    status: Literal["ready", "not ready"]
    reasons: list[str]
    degraded: list[str]
    warnings: list[str]
    models: list[ModelReadiness]
    cooling: CoolingHealth | None = None


class ReadinessOutline(Outline):
    status: Literal["ready", "not ready"]


# ── the queue, and models in memory ────────────────────────────────────────────────────────────────────────


class QueueItem(Answer):
    id: str
    """Of the request: its `X-Request-Id`."""
    object: Literal["queue.item"]
    model: str
    owner: str
    """The key's id, or without keys the caller's address."""
    priority: Literal["realtime", "background"]
    aged: bool
    """It has waited so long that it counts as realtime."""
    position: int
    """1: the next."""
    eta_s: float | None
    """Until its turn, guessed; null: nobody can tell."""
    waited_s: float
    deadline_in_s: float | None


class QueueAnswer(Answer):
    object: Literal["list"]
    data: list[QueueItem]


class RunningRequest(Answer):
    id: str
    """Its `X-Request-Id`."""
    object: Literal["request"]
    route: str | None
    model: str | None
    owner: str
    """The key's id, or without keys the caller's address."""
    state: Literal["waiting", "running", "prefill", "decode", "cancelled"]
    stream: bool
    priority: Literal["realtime", "background"]
    age_s: float
    prompt_tokens: int | None
    output_tokens: int


class RequestsAnswer(Answer):
    object: Literal["list"]
    data: list[RunningRequest]


class CancelledAnswer(Answer):
    object: Literal["request.cancelled"]
    id: str
    cancelled: int
    """How many had this id."""


class ResidencyAnswer(Answer):
    model: str
    state: str


class FitRung(Answer):
    placement: dict[str, Any]
    footprint: dict[str, Any]
    """Bytes by what they are for, and `total_bytes`."""
    conceded: list[dict[str, Any]]
    """What is given up of the wish, so that it fits."""
    worth: float
    variant: str | None


class FitAnswer(Answer):
    """A refusal is an answer too: `fits` is false then, and `error` has the reason and its numbers."""

    model: str
    board: str | None
    fits: bool
    verdict: Literal["fits", "evicts", "waits", "refused"]
    evicts: list[str]
    waits_for: list[str]
    in_memory: dict[str, Any] | None
    origin: str
    """Where its sizes are from."""
    is_guess: bool
    min_ctx: int
    budget: dict[str, Any] | None
    plan: FitRung | None
    least: FitRung
    read_bytes: int | None
    bandwidth_bytes_per_s: int | None
    tokens_per_s_bound: float | None
    notes: list[str]
    took_s: float
    error: dict[str, Any] | None = None


class HibernationAnswer(Answer):
    snapshots: int
    size_bytes: int
    models: int
    """That have any."""


# ── usage ──────────────────────────────────────────────────────────────────────────────────────────────────


class UsageLine(Answer):
    """`key`, `model` and `time` where it is parted by them."""

    key: str | None = None
    model: str | None = None
    time: str | None = None
    requests: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    served_s: float
    joules: float | None


class UsageAnswer(Answer):
    object: Literal["list"]
    data: list[UsageLine]


# ── the store ──────────────────────────────────────────────────────────────────────────────────────────────


class StoredModelRow(Answer):
    """One name in the store."""

    id: str
    """The first 12 digits of the digest."""
    name: str
    digest: str
    """Of the manifest."""
    size_bytes: int
    unique_bytes: int
    """What the disk gains when this one name is removed."""
    modified_s: float
    """Unix time at which the name began to stand for this."""
    architecture: str
    parameters: str
    """How many it has, as the config says it: `135M`."""
    quantization: str
    broken: str | None
    """Why it is not served; null: it is sound."""
    optimized: str | None
    """Which variant is served on this board, or why the measured one is not."""
    hint: str | None
    """What there may be to gain by another type of weights."""


class StoredModelsAnswer(Answer):
    models: list[StoredModelRow]


class StoredMessage(Answer):
    role: str
    content: str


class StoredTensor(Answer):
    name: str
    type: str
    shape: list[int]


class StoredModelAnswer(Answer):
    """Everything there is to say of one model."""

    id: str
    name: str
    digest: str
    size_bytes: int
    unique_bytes: int
    modified_s: float
    architecture: str
    quantization: str
    broken: str | None
    optimized: str | None
    hint: str | None
    modelfile: str
    parameter_count: str
    """As the config says it: `135M`."""
    parameters: dict[str, Any]
    """Defaults that requests may override, by Ollama's names."""
    template: str | None
    template_note: str | None
    system: str | None
    messages: list[StoredMessage]
    licences: list[str]
    capabilities: list[str]
    context_length: int | None
    embedding_length: int | None
    metadata: dict[str, Any]
    """Of the GGUF, flat."""
    projector: dict[str, Any]
    tensors: list[StoredTensor]
    renderer: str | None
    parser: str | None
    requires: str | None
    notes: list[str]
    """What falls short, a sentence each."""
    variant: str | None
    calibrated: str | None
    optimization: dict[str, Any] | None


class OperationLine(Answer):
    """One line of NDJSON. The last has the status `success` and the verb's outcome beside it, or is an
    error.
    """

    model_config = ConfigDict(extra="allow")

    status: str | None = None
    digest: str | None = None
    total: int | None = None
    """Bytes."""
    completed: int | None = None
    error: ErrorFields | None = None
