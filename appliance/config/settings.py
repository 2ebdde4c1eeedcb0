"""Every setting with its default, unit, bounds and text. Declared once, here; `Field` metadata generates the
documents (`config_reference.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from appliance.config.access_settings import AccessSettings
from appliance.config.board_settings import (
    CalibrationSettings,
    HeatSettings,
    HibernationSettings,
    LifecycleSettings,
    MemorySettings,
    OptimizeSettings,
)
from appliance.config.response_settings import ResponseSettings
from appliance.config.section import MIB, Section, setting
from appliance.config.tracing import TracingSettings
from appliance.config.usage_settings import AuditSettings, QuotaSettings, UsageSettings
from appliance.config.values import (
    BaseUrl,
    CacheType,
    DeviceWish,
    FilePath,
    FlashAttention,
    HostName,
    KeepAlive,
    Listen,
    LogFormat,
    LogLevel,
    ModelName,
    Origin,
    Pooling,
    ProxyAddress,
    RedirectHost,
    RemoteHost,
    SandboxWish,
    SocketPath,
    Token,
    entry_from_path,
    frozen,
    parse_listen,
)
from appliance.units import LEAST_UBATCH, MOST_CONTEXT, MOST_PARALLEL, MOST_THREADS, MOST_UBATCH


class ServerSettings(Section):
    """The HTTP door."""

    listen: Listen = setting(
        "127.0.0.1:11434",
        "Address and port. Where others than this machine can reach it, everybody needs a key.",
    )
    proxy_socket: SocketPath = setting(
        "",
        "Empty, or the path of a Unix socket beside it, for a proxy of this machine (configs/haproxy.cfg) "
        "that others reach. Everybody needs a key then.",
    )
    max_body_bytes: int = setting(16 * MIB, "Largest request body.", unit="bytes", ge=1024, le=1024 * MIB)
    heartbeat_s: float = setting(
        10.0, "Longest silence on a stream before a comment line is sent.", unit="s", ge=0.05, le=300
    )
    request_timeout_s: float = setting(
        3600.0, "Longest life of one request, from its first byte to its last.", unit="s", ge=1, le=86400
    )
    resume_s: float = setting(
        30.0, "How long a resumable stream goes on, and is kept, alone; 0: none is.", unit="s", ge=0, le=3600
    )
    resume_bytes: int = setting(
        MIB, "Events kept of one; unread, it is cancelled at more.", unit="bytes", ge=64 * 1024, le=64 * MIB
    )
    resume_streams: int = setting(64, "Such streams that are kept at once.", unit="streams", ge=1, le=1024)
    resume_streams_per_key: int = setting(8, "As many of one key.", unit="streams", ge=1, le=1024)
    drain_s: float = setting(
        8.0, "How long running answers may still take when the daemon is stopped.", unit="s", ge=0, le=3600
    )
    names: Annotated[tuple[HostName, ...], BeforeValidator(frozen)] = setting(
        (), "Names by which it is called, beside its addresses, localhost and *.local; others are refused."
    )
    origins: Annotated[tuple[Origin, ...], BeforeValidator(frozen)] = setting(
        (), "Web pages of other origins that may use it from a browser, as https://host[:port]."
    )
    trusted_proxies: Annotated[tuple[ProxyAddress, ...], BeforeValidator(frozen)] = setting(
        (),
        "Addresses or networks of proxies whose X-Forwarded-For is believed; what comes from them is never "
        "taken for this machine's own, so that nobody names its files through them.",
    )

    @property
    def proxy_path(self) -> Path | None:
        """Of the Unix socket, where one is wanted."""
        return Path(self.proxy_socket) if self.proxy_socket else None

    @property
    def host(self) -> str:
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return parse_listen(self.listen)[1]


class QueueSettings(Section):
    """The bounded, fair queue in front of the models."""

    max_running: int = setting(
        64, "Requests that one model works on at once.", unit="requests", ge=1, le=1024
    )
    max_waiting: int = setting(
        256,
        "Requests that may wait, over all models, beside those for whom a place among max_running is free "
        "(while their model loads). The next is refused at once, or takes the place of one whose key has "
        "more.",
        unit="requests",
        ge=0,
        le=1024,
    )
    max_concurrent: int = setting(
        640,
        "Requests at work or waiting at once, over all models; the next is refused at once. Each holds a "
        "thread. Leave room for a second model beside one whose queue is full.",
        unit="requests",
        ge=1,
        le=2048,
    )
    patience_s: float = setting(
        120.0,
        "Longest wait of a request for its model to load or for its turn, where it names no deadline.",
        unit="s",
        ge=0.05,
        le=3600,
    )
    background_max_wait_s: float = setting(
        60.0,
        "A background request that has waited for so long counts as a realtime one.",
        unit="s",
        ge=0,
        le=3600,
    )

    @model_validator(mode="after")
    def _door_holds_a_queue(self) -> Self:
        one = self.max_running + self.max_waiting
        if one > self.max_concurrent:
            raise ValueError(
                f"max_concurrent ({self.max_concurrent}) of at least max_running + max_waiting ({one})"
            )
        return self


class RunnerSettings(Section):
    """Runner processes: how they start, stop and are judged."""

    heartbeat_timeout_s: float = setting(
        20.0,
        "A runner silent for so long is killed; its engine beats between steps.",
        unit="s",
        ge=0.5,
        le=600,
    )
    load_timeout_s: float = setting(300.0, "Longest load of a model.", unit="s", ge=1, le=3600)
    stop_timeout_s: float = setting(
        5.0, "Grace between the wish to stop and SIGKILL.", unit="s", ge=0.05, le=300
    )
    max_crashes: int = setting(
        3, "Crashes in a row before a model is quarantined.", unit="crashes", ge=1, le=100
    )
    backoff_s: float = setting(
        0.5, "Wait before the first restart after a crash; doubles to 30 s.", unit="s", ge=0, le=30
    )
    quarantine_s: float = setting(
        300.0, "How long a quarantined model is left alone.", unit="s", ge=0.05, le=86400
    )
    stall_timeout_s: float = setting(
        60.0,
        "A runner that beats, but computes nothing for the requests it has taken, is killed after so long.",
        unit="s",
        ge=0.5,
        le=3600,
    )
    canary_interval_s: float = setting(
        600.0,
        "An idle runner is asked for one token so often; if none comes, it is killed. 0: never.",
        unit="s",
        ge=0,
        le=86400,
    )
    sandbox: SandboxWish = setting(
        "auto",
        "auto: as far as the kernel goes; strict: refuse to run with less than all; off: for debugging only.",
    )


class EngineSettings(Section):
    """Placement and bounds of the engine in each runner."""

    n_ctx_seq: int = setting(
        4096,
        "Tokens one request may hold, prompt and answer together; 0: the model's own.",
        unit="tokens",
        ge=0,
        le=MOST_CONTEXT,
    )
    n_seq_max: int = setting(64, "Sequences that run at once.", unit="sequences", ge=1, le=MOST_PARALLEL)
    kv_cells: int = setting(
        0, "Tokens that the KV cache holds over all sequences; 0: chosen.", unit="tokens", ge=0, le=1 << 26
    )
    n_ubatch: int = setting(
        0,
        f"Most tokens computed at once, {LEAST_UBATCH} or more; 0: as outpost calibrate has found, else 512.",
        unit="tokens",
        ge=0,
        le=MOST_UBATCH,
    )
    n_threads: int = setting(
        0,
        "Compute threads; 0: as outpost calibrate has found, else chosen from the big cores.",
        unit="threads",
        ge=0,
        le=MOST_THREADS,
    )
    flash_attention: FlashAttention = setting(
        "auto", "auto: as outpost calibrate has found, else wherever it can be had; on; off."
    )
    type_k: CacheType = setting("f16", "Type of the cached keys.")
    type_v: CacheType = setting("f16", "Type of the cached values.")
    step_bound_s: float = setting(
        0.25,
        "An engine step is planned to stay under this, whatever prompt is prefilled.",
        unit="s",
        ge=0.01,
        le=10,
    )
    speculation: bool = setting(True, "Guess tokens ahead from the prompt or a draft model, where it pays.")
    prefix_reuse: bool = setting(
        True, "Start a request from the longest prefix already computed in its scope."
    )
    own_kernels: bool = setting(
        True,
        "Multiply Q4_1 and Q8_0 weights with kernels of our own (docs/adr/0013), unless outpost calibrate "
        "has found them slower; off: llama.cpp's alone.",
    )
    device: DeviceWish = setting(
        "prefer_gpu",
        "require_gpu: served on a GPU or not at all; prefer_gpu: on the GPU where there is one, else on the "
        "CPU, and it is told; cpu: never on a GPU.",
    )
    raw_grammar: bool = setting(True, "Take GBNF grammars from clients; JSON schemas are always taken.")

    @field_validator("n_ubatch")
    @classmethod
    def _chosen_or_enough(cls, value: int) -> int:
        if 0 < value < LEAST_UBATCH:
            raise ValueError(f"0, or {LEAST_UBATCH} to {MOST_UBATCH}")
        return value


class ModelSettings(Section):
    """The models to serve: NAME = path of a GGUF, or NAME = { path = …, with any of these }."""

    path: FilePath = Field(description="The GGUF file.")
    draft: FilePath | None = setting(None, "GGUF of a draft model with the same vocabulary.")
    adapters: dict[ModelName, FilePath] = Field(
        default_factory=dict, description="LoRA adapters: name = file."
    )
    n_ctx_seq: int | None = setting(
        None, "As in [engine], for this model only.", unit="tokens", ge=0, le=MOST_CONTEXT
    )
    device: DeviceWish | None = setting(None, "As in [engine], for this model only.")
    pooling: Pooling | None = setting(None, "Pooling of embeddings, where the file does not say.")
    keep_alive: KeepAlive | None = setting(None, "As in [lifecycle], for this model only.")


class RemoteSettings(Section):
    """A host that the store may call."""

    insecure: bool = setting(False, "Call it without TLS.")
    token: Token = Field(
        "", description="Sent to it, and to nobody else, as its bearer token or USER:PASSWORD.", repr=False
    )
    redirects_to: Annotated[tuple[RedirectHost, ...], BeforeValidator(frozen)] = setting(
        (), "Other hosts to which it may send us for blobs and tokens: HOST[:PORT] or *.DOMAIN."
    )


class StoreSettings(Section):
    """The model store, in the folder `store` of the data directory, and whom it may call: without hosts
    nobody.
    """

    floor_fraction: float = setting(
        0.05, "Part of the disk that stays free, whatever is pulled or imported.", ge=0, le=0.9
    )
    scrub_interval_h: float = setting(
        168.0,
        "So long after the last time, every stored byte is read and checked again; 0: never.",
        unit="h",
        ge=0,
        le=8760,
    )
    scrub_bytes_per_s: int = setting(
        32 * MIB, "How fast that goes, so that it disturbs nobody.", unit="bytes/s", ge=64 * 1024, le=1 << 36
    )
    gc_interval_h: float = setting(
        24.0,
        "How often what no model needs is removed, beside soon after a removal; 0: neither.",
        unit="h",
        ge=0,
        le=8760,
    )
    hub: BaseUrl = setting(
        "",
        "Base address that stands for the hub in names like hf.co/USER/REPO; its host must be listed below.",
    )
    hosts: dict[RemoteHost, RemoteSettings] = Field(
        default_factory=dict,
        description="Hosts that may be called: name = { } with any of insecure, token, redirects_to.",
    )


class LogSettings(Section):
    """What is told to the journal."""

    level: LogLevel = setting("info", "The least level told.")
    format: LogFormat = setting("auto", "auto: console on a terminal, JSON lines elsewhere.")
    requests_bytes: int = setting(
        0,
        "The one line of each request is also written to requests.jsonl of the data directory, which with "
        "the one before it takes no more than this; never prompts or answers. 0: not; it needs the level "
        "info or debug.",
        unit="bytes",
        ge=0,
        le=1024 * MIB,
    )


class DataSettings(Section):
    """Where the daemon writes; everything it writes stays inside."""

    dir: FilePath = setting(Path("/var/lib/outpost"), "Data directory.")


class Config(Section):
    """All settings. Made once by `load`; shared freely between threads, because nothing in it changes."""

    server: ServerSettings = ServerSettings()
    queue: QueueSettings = QueueSettings()
    runner: RunnerSettings = RunnerSettings()
    engine: EngineSettings = EngineSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    models: dict[ModelName, Annotated[ModelSettings, BeforeValidator(entry_from_path)]] = Field(
        default_factory=dict, description="Models to serve: name = path, or name = { path = …, … }."
    )
    store: StoreSettings = StoreSettings()
    access: AccessSettings = AccessSettings()
    quotas: QuotaSettings = QuotaSettings()
    usage: UsageSettings = UsageSettings()
    audit: AuditSettings = AuditSettings()
    heat: HeatSettings = HeatSettings()
    log: LogSettings = LogSettings()
    data: DataSettings = DataSettings()
    memory: MemorySettings = MemorySettings()
    hibernation: HibernationSettings = HibernationSettings()
    optimize: OptimizeSettings = OptimizeSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    responses: ResponseSettings = ResponseSettings()
    tracing: TracingSettings = TracingSettings()
