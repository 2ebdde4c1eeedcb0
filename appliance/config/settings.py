"""Every setting with its default, unit, bounds and text. Declared once, here; `Field` metadata generates the
documents (`config_reference.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from appliance.config.values import (
    BaseUrl,
    CacheType,
    FilePath,
    FlashAttention,
    HostName,
    KeepAlive,
    KeyId,
    KeyScope,
    Listen,
    LogFormat,
    LogLevel,
    ModelName,
    OptimizePolicy,
    Origin,
    Pooling,
    ProxyAddress,
    RedirectHost,
    RemoteHost,
    SandboxWish,
    Sha256,
    Token,
    entry_from_path,
    frozen,
    key_from_sha256,
    parse_listen,
)

_MIB: Final = 1024 * 1024
MOST_CONTEXT: Final = 1 << 24
LEAST_UBATCH: Final = 32
MOST_UBATCH: Final = 8192
MOST_THREADS: Final = 512
"""What llama.cpp's thread pool takes (GGML_MAX_N_THREADS)."""


def _setting(
    default: Any,
    text: str,
    *,
    unit: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
) -> Any:
    """One setting: default, text, unit and bounds (both inclusive)."""
    return Field(
        default,
        description=text,
        json_schema_extra={"unit": unit} if unit else None,
        ge=ge,
        le=le,
        min_length=min_length,
    )


class Section(BaseModel):
    """Base of all tables: frozen, no unknown key, no silent conversion ("5" is not 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ServerSettings(Section):
    """The HTTP door."""

    listen: Listen = _setting(
        "127.0.0.1:11434", "Address and port. Anything but loopback needs [access] keys."
    )
    max_body_bytes: int = _setting(16 * _MIB, "Largest request body.", unit="bytes", ge=1024, le=1024 * _MIB)
    heartbeat_s: float = _setting(
        10.0, "Longest silence on a stream before a comment line is sent.", unit="s", ge=0.05, le=300
    )
    request_timeout_s: float = _setting(
        3600.0, "Longest life of one request, from its first byte to its last.", unit="s", ge=1, le=86400
    )
    drain_s: float = _setting(
        8.0, "How long running answers may still take when the daemon is stopped.", unit="s", ge=0, le=3600
    )
    names: Annotated[tuple[HostName, ...], BeforeValidator(frozen)] = _setting(
        (), "Names by which it is called, beside its addresses, localhost and *.local; others are refused."
    )
    origins: Annotated[tuple[Origin, ...], BeforeValidator(frozen)] = _setting(
        (), "Web pages of other origins that may use it from a browser, as https://host[:port]."
    )
    trusted_proxies: Annotated[tuple[ProxyAddress, ...], BeforeValidator(frozen)] = _setting(
        (),
        "Addresses or networks of proxies whose X-Forwarded-For is believed; what comes from them is never "
        "taken for this machine's own, so that nobody names its files through them.",
    )

    @property
    def host(self) -> str:
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return parse_listen(self.listen)[1]


class QueueSettings(Section):
    """The bounded, fair queue in front of each model."""

    max_running: int = _setting(
        64, "Requests that one model works on at once.", unit="requests", ge=1, le=1024
    )
    max_waiting: int = _setting(
        256,
        "Requests that may wait for one model; the next is refused at once.",
        unit="requests",
        ge=0,
        le=1024,
    )
    max_concurrent: int = _setting(
        640,
        "Requests at work or waiting at once, over all models; the next is refused at once. Each holds a "
        "thread. Leave room for a second model beside one whose queue is full.",
        unit="requests",
        ge=1,
        le=2048,
    )
    patience_s: float = _setting(
        120.0, "Longest wait of a request for its model to load or for its turn.", unit="s", ge=0.05, le=3600
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

    heartbeat_timeout_s: float = _setting(
        20.0,
        "A runner silent for so long is killed; its engine beats between steps.",
        unit="s",
        ge=0.5,
        le=600,
    )
    load_timeout_s: float = _setting(300.0, "Longest load of a model.", unit="s", ge=1, le=3600)
    stop_timeout_s: float = _setting(
        5.0, "Grace between the wish to stop and SIGKILL.", unit="s", ge=0.05, le=300
    )
    max_crashes: int = _setting(
        3, "Crashes in a row before a model is quarantined.", unit="crashes", ge=1, le=100
    )
    backoff_s: float = _setting(
        0.5, "Wait before the first restart after a crash; doubles to 30 s.", unit="s", ge=0, le=30
    )
    quarantine_s: float = _setting(
        300.0, "How long a quarantined model is left alone.", unit="s", ge=0.05, le=86400
    )
    sandbox: SandboxWish = _setting(
        "auto",
        "auto: as far as the kernel goes; strict: refuse to run with less than all; off: for debugging only.",
    )


class EngineSettings(Section):
    """Placement and bounds of the engine in each runner."""

    n_ctx_seq: int = _setting(
        4096,
        "Tokens one request may hold, prompt and answer together; 0: the model's own.",
        unit="tokens",
        ge=0,
        le=MOST_CONTEXT,
    )
    n_seq_max: int = _setting(64, "Sequences that run at once.", unit="sequences", ge=1, le=256)
    kv_cells: int = _setting(
        0, "Tokens that the KV cache holds over all sequences; 0: chosen.", unit="tokens", ge=0, le=1 << 26
    )
    n_ubatch: int = _setting(
        0,
        f"Most tokens computed at once, {LEAST_UBATCH} or more; 0: as outpost calibrate has found, else 512.",
        unit="tokens",
        ge=0,
        le=MOST_UBATCH,
    )
    n_threads: int = _setting(
        0,
        "Compute threads; 0: as outpost calibrate has found, else chosen from the big cores.",
        unit="threads",
        ge=0,
        le=MOST_THREADS,
    )
    flash_attention: FlashAttention = _setting(
        "auto", "auto: as outpost calibrate has found, else wherever it can be had; on; off."
    )
    type_k: CacheType = _setting("f16", "Type of the cached keys.")
    type_v: CacheType = _setting("f16", "Type of the cached values.")
    step_bound_s: float = _setting(
        0.25,
        "An engine step is planned to stay under this, whatever prompt is prefilled.",
        unit="s",
        ge=0.01,
        le=10,
    )
    speculation: bool = _setting(True, "Guess tokens ahead from the prompt or a draft model, where it pays.")
    prefix_reuse: bool = _setting(
        True, "Start a request from the longest prefix already computed in its scope."
    )
    own_kernels: bool = _setting(
        True,
        "Multiply Q4_1 and Q8_0 weights with kernels of our own (docs/adr/0013), unless outpost calibrate "
        "has found them slower; off: llama.cpp's alone.",
    )
    raw_grammar: bool = _setting(True, "Take GBNF grammars from clients; JSON schemas are always taken.")

    @field_validator("n_ubatch")
    @classmethod
    def _chosen_or_enough(cls, value: int) -> int:
        if 0 < value < LEAST_UBATCH:
            raise ValueError(f"0, or {LEAST_UBATCH} to {MOST_UBATCH}")
        return value


class ModelSettings(Section):
    """The models to serve: NAME = path of a GGUF, or NAME = { path = …, with any of these }."""

    path: FilePath = Field(description="The GGUF file.")
    draft: FilePath | None = _setting(None, "GGUF of a draft model with the same vocabulary.")
    adapters: dict[ModelName, FilePath] = Field(
        default_factory=dict, description="LoRA adapters: name = file."
    )
    n_ctx_seq: int | None = _setting(
        None, "As in [engine], for this model only.", unit="tokens", ge=0, le=MOST_CONTEXT
    )
    pooling: Pooling | None = _setting(None, "Pooling of embeddings, where the file does not say.")
    keep_alive: KeepAlive | None = _setting(None, "As in [lifecycle], for this model only.")


class LifecycleSettings(Section):
    """Which models are in memory, and for how long."""

    keep_alive: KeepAlive = _setting(
        300.0,
        "How long a model stays in memory after its last request, where that says nothing: seconds or text "
        'like "30s", "10m", "1h30m"; 0: not at all; below 0: until memory is needed.',
        unit="s",
    )
    preload: Annotated[tuple[ModelName, ...], BeforeValidator(frozen)] = _setting(
        (), "Models that are loaded with the daemon and stay until their memory is needed."
    )
    pin: Annotated[tuple[ModelName, ...], BeforeValidator(frozen)] = _setting(
        (), "Models that are never put out of memory, once there, but by `outpost stop`."
    )
    turn_s: float = _setting(
        5.0,
        "A model that waits for longer for memory that a busy one holds gets its turn: the busy one takes no "
        "new requests, finishes those it has, and makes room.",
        unit="s",
        ge=0,
        le=3600,
    )
    min_residency_s: float = _setting(
        2.0, "Shortest service of a model before it is put out for another.", unit="s", ge=0, le=3600
    )
    max_swaps_per_min: int = _setting(
        20, "Models that may be put out for others within a minute.", unit="models", ge=1, le=600
    )


class RemoteSettings(Section):
    """A host that the store may call."""

    insecure: bool = _setting(False, "Call it without TLS.")
    token: Token = Field(
        "", description="Sent to it, and to nobody else, as its bearer token or USER:PASSWORD.", repr=False
    )
    redirects_to: Annotated[tuple[RedirectHost, ...], BeforeValidator(frozen)] = _setting(
        (), "Other hosts to which it may send us for blobs and tokens: HOST[:PORT] or *.DOMAIN."
    )


class StoreSettings(Section):
    """The model store, in the folder `store` of the data directory, and whom it may call: without hosts
    nobody.
    """

    floor_fraction: float = _setting(
        0.05, "Part of the disk that stays free, whatever is pulled or imported.", ge=0, le=0.9
    )
    scrub_interval_h: float = _setting(
        168.0,
        "So long after the last time, every stored byte is read and checked again; 0: never.",
        unit="h",
        ge=0,
        le=8760,
    )
    scrub_bytes_per_s: int = _setting(
        32 * _MIB, "How fast that goes, so that it disturbs nobody.", unit="bytes/s", ge=64 * 1024, le=1 << 36
    )
    gc_interval_h: float = _setting(
        24.0,
        "How often what no model needs is removed, beside soon after a removal; 0: neither.",
        unit="h",
        ge=0,
        le=8760,
    )
    hub: BaseUrl = _setting(
        "",
        "Base address that stands for the hub in names like hf.co/USER/REPO; its host must be listed below.",
    )
    hosts: dict[RemoteHost, RemoteSettings] = Field(
        default_factory=dict,
        description="Hosts that may be called: name = { } with any of insecure, token, redirects_to.",
    )


class KeySettings(Section):
    """One key."""

    sha256: Sha256 = Field(description="SHA-256 of the whole key, in hex. The key itself is stored nowhere.")
    scopes: Annotated[tuple[KeyScope, ...], BeforeValidator(frozen)] = _setting(
        ("inference",), "What it may do; nothing but what is listed.", min_length=1
    )


class AccessSettings(Section):
    """Who may ask, and for what. Without keys everybody on this machine may, and nobody else."""

    keys: dict[KeyId, Annotated[KeySettings, BeforeValidator(key_from_sha256)]] = Field(
        default_factory=dict,
        description="Key id = SHA-256 of the whole key, in hex (the key itself is stored nowhere): it may "
        "have models answer. Or key id = { sha256 = …, scopes = […] } with any of inference, models:read "
        "(list and take away), models:write (change what is stored) and metrics.",
    )


class HeatSettings(Section):
    """Heat and power: how the board is kept below the temperatures at which it throttles."""

    enabled: bool = _setting(True, "Watch the sensors and slow down in time; off: leave it to the kernel.")
    margin_celsius: float = _setting(
        1.0,
        "So far below a zone's limit it is kept at least; more where its sensor is noisy.",
        unit="K",
        ge=0.5,
        le=30,
    )
    power_budget_watts: float = _setting(
        0.0,
        "What the board may draw on average, where a sensor measures it; 0: as much as it takes.",
        unit="W",
        ge=0,
        le=1000,
    )
    siblings: dict[ModelName, ModelName] = Field(
        default_factory=dict,
        description="Models whose chats and completions a smaller model may answer while it is too hot: "
        "name = smaller model. The answer says so in X-Outpost-Warning.",
    )


class LogSettings(Section):
    """What is told to the journal."""

    level: LogLevel = _setting("info", "The least level told.")
    format: LogFormat = _setting("auto", "auto: console on a terminal, JSON lines elsewhere.")


class DataSettings(Section):
    """Where the daemon writes; everything it writes stays inside."""

    dir: FilePath = _setting(Path("/var/lib/outpost"), "Data directory.")


class MemorySettings(Section):
    """What a model may take of the board's memory, and what it gives up where it does not fit."""

    reserve_bytes: int = _setting(
        0,
        "What stays free for all other programs; 0: 8 % of the memory, at least 512 MiB (on boards below "
        "4 GiB an eighth).",
        unit="bytes",
        ge=0,
        le=1 << 40,
    )
    min_ctx: int = _setting(
        2048,
        "Tokens of context per request below which no model is loaded, where a request does not say: rather "
        "is the load refused. Models made for fewer are loaded with what they have.",
        unit="tokens",
        ge=8,
        le=MOST_CONTEXT,
    )
    comfortable_slots: int = _setting(
        4,
        "Sequences at once that room is made for; more are had only where they cost nobody anything.",
        unit="sequences",
        ge=1,
        le=256,
    )
    parallel_share: float = _setting(
        0.5,
        "Part of the free memory that a model with more sequences than that may fill, so that a second model "
        "still has room.",
        ge=0,
        le=1,
    )


class HibernationSettings(Section):
    """KV state on disk: computed prompts come back after a model was unloaded, or the machine was off. Off by
    default: the files hold prompts and answers, in the clear (docs/threat-model.md).
    """

    enabled: bool = _setting(
        False, "Keep KV state in the data directory. Off: what is there is removed when the daemon starts."
    )
    max_bytes: int = _setting(
        8192 * _MIB,
        "Most bytes over all models; what was used longest ago goes first.",
        unit="bytes",
        ge=_MIB,
        le=1 << 44,
    )
    max_fraction: float = _setting(
        0.1, "And no more than this part of the disk, whose floor ([store]) stays free.", ge=0, le=0.9
    )
    min_tokens: int = _setting(
        256, "Shorter prefixes are computed again.", unit="tokens", ge=16, le=MOST_CONTEXT
    )
    write_bytes_per_min: int = _setting(
        256 * _MIB,
        "How much each model may write in the long run, so that flash wears slowly; ten minutes' worth at "
        "once.",
        unit="bytes/min",
        ge=_MIB,
        le=1 << 40,
    )
    stop_s: float = _setting(
        1.5,
        "How long a model that is unloaded may still write; most is written before, while nobody asks. At "
        "most 0.8 of [runner] stop_timeout_s.",
        unit="s",
        ge=0,
        le=240,
    )


class OptimizeSettings(Section):
    """Weights of a model in a type that is faster on this board (docs/optimize.md)."""

    policy: OptimizePolicy = _setting(
        "ask",
        "off: only when it is asked for (outpost optimize); ask: models that may be faster are named in "
        "list, show and ps; auto: they are made and measured while nobody waits for an answer.",
    )
    max_kl: float = _setting(
        0.01,
        "Most that a variant may lose: the mean KL divergence of its next-token distributions from the "
        "original's.",
        unit="nats",
        ge=0,
        le=10,
    )
    min_speedup: float = _setting(
        1.1, "How many times faster a variant must be, by its weighted score.", ge=1, le=100
    )
    min_ratio: float = _setting(
        0.9,
        "What every single figure (prefill, decode of 1, 8, 32 sequences) must at least be of the original's.",
        ge=0,
        le=1,
    )
    tokens: int = _setting(
        2048, "Most tokens of the bundled text that variants are judged by.", unit="tokens", ge=64, le=65536
    )
    rounds: int = _setting(
        5, "How often each speed is measured; the medians count.", unit="rounds", ge=2, le=99
    )
    limit_s: float = _setting(
        60.0,
        "Time for one variant; past it there are no more rounds than two, and no more text than one window.",
        unit="s",
        ge=1,
        le=86400,
    )


class CalibrationSettings(Section):
    """What was measured of this board (docs/calibrate.md)."""

    apply: bool = _setting(
        True,
        "Serve a model as outpost calibrate has found it to be fastest, where nothing else is set; false: "
        "only measure and show.",
    )
    limit_s: float = _setting(60.0, "Time for one model, waits not counted.", unit="s", ge=5, le=3600)


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
    heat: HeatSettings = HeatSettings()
    log: LogSettings = LogSettings()
    data: DataSettings = DataSettings()
    memory: MemorySettings = MemorySettings()
    hibernation: HibernationSettings = HibernationSettings()
    optimize: OptimizeSettings = OptimizeSettings()
    calibration: CalibrationSettings = CalibrationSettings()
