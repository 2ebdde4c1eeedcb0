"""Settings of what the board has to give: memory and who is in it, heat, disk for caches, layouts of weights.
Declared as those of `settings.py`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from appliance.config.section import MIB, Section, setting
from appliance.config.values import KeepAlive, ModelName, OptimizePolicy, frozen
from appliance.units import MOST_CONTEXT


class LifecycleSettings(Section):
    """Which models are in memory, and for how long."""

    keep_alive: KeepAlive = setting(
        300.0,
        "How long a model stays in memory after its last request, where that says nothing: seconds or text "
        'like "30s", "10m", "1h30m"; 0: not at all; below 0: until memory is needed.',
        unit="s",
    )
    preload: Annotated[tuple[ModelName, ...], BeforeValidator(frozen)] = setting(
        (), "Models that are loaded with the daemon and stay until their memory is needed."
    )
    pin: Annotated[tuple[ModelName, ...], BeforeValidator(frozen)] = setting(
        (), "Models that are never put out of memory, once there, but by `outpost stop`."
    )
    turn_s: float = setting(
        5.0,
        "A model that waits for longer for memory that a busy one holds gets its turn: the busy one takes no "
        "new requests, finishes those it has, and makes room.",
        unit="s",
        ge=0,
        le=3600,
    )
    min_residency_s: float = setting(
        2.0, "Shortest service of a model before it is put out for another.", unit="s", ge=0, le=3600
    )
    max_swaps_per_min: int = setting(
        20, "Models that may be put out for others within a minute.", unit="models", ge=1, le=600
    )


class HeatSettings(Section):
    """Heat and power: how the board is kept below the temperatures at which it throttles."""

    enabled: bool = setting(True, "Watch the sensors and slow down in time; off: leave it to the kernel.")
    margin_celsius: float = setting(
        1.0,
        "So far below a zone's limit it is kept at least; more where its sensor is noisy.",
        unit="K",
        ge=0.5,
        le=30,
    )
    power_budget_watts: float = setting(
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


class MemorySettings(Section):
    """What a model may take of the board's memory, and what it gives up where it does not fit."""

    reserve_bytes: int = setting(
        0,
        "What stays free for all other programs; 0: 8 % of the memory, at least 512 MiB (on boards below "
        "4 GiB an eighth).",
        unit="bytes",
        ge=0,
        le=1 << 40,
    )
    min_ctx: int = setting(
        2048,
        "Tokens of context per request below which no model is loaded, where a request does not say: rather "
        "is the load refused. Models made for fewer are loaded with what they have.",
        unit="tokens",
        ge=8,
        le=MOST_CONTEXT,
    )
    comfortable_slots: int = setting(
        4,
        "Sequences at once that room is made for; more are had only where they cost nobody anything.",
        unit="sequences",
        ge=1,
        le=256,
    )
    smaller: dict[ModelName, ModelName] = Field(
        default_factory=dict,
        description="Models, and the smaller one that is loaded in their place, under their name, where "
        "memory does not hold them; it is told in ps, health and a header. Others are refused.",
    )
    parallel_share: float = setting(
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

    enabled: bool = setting(
        False, "Keep KV state in the data directory. Off: what is there is removed when the daemon starts."
    )
    max_bytes: int = setting(
        8192 * MIB,
        "Most bytes over all models; what was used longest ago goes first.",
        unit="bytes",
        ge=MIB,
        le=1 << 44,
    )
    max_fraction: float = setting(
        0.1, "And no more than this part of the disk, whose floor ([store]) stays free.", ge=0, le=0.9
    )
    min_tokens: int = setting(
        256, "Shorter prefixes are computed again.", unit="tokens", ge=16, le=MOST_CONTEXT
    )
    write_bytes_per_min: int = setting(
        256 * MIB,
        "How much each model may write in the long run, so that flash wears slowly; ten minutes' worth at "
        "once.",
        unit="bytes/min",
        ge=MIB,
        le=1 << 40,
    )
    stop_s: float = setting(
        1.5,
        "How long a model that is unloaded may still write; most is written before, while nobody asks. At "
        "most 0.8 of [runner] stop_timeout_s.",
        unit="s",
        ge=0,
        le=240,
    )


class OptimizeSettings(Section):
    """Weights of a model in a type that is faster on this board (docs/optimize.md)."""

    policy: OptimizePolicy = setting(
        "ask",
        "off: only when it is asked for (outpost optimize); ask: models that may be faster are named in "
        "list, show and ps; auto: they are made and measured while nobody waits for an answer.",
    )
    max_kl: float = setting(
        0.01,
        "Most that a variant may lose: the mean KL divergence of its next-token distributions from the "
        "original's.",
        unit="nats",
        ge=0,
        le=10,
    )
    min_speedup: float = setting(
        1.1, "How many times faster a variant must be, by its weighted score.", ge=1, le=100
    )
    min_ratio: float = setting(
        0.9,
        "What each figure (prefill, decode of 1, 8, 32 sequences) must at least be of the original's.",
        ge=0,
        le=1,
    )
    tokens: int = setting(
        2048, "Most tokens of the bundled text that variants are judged by.", unit="tokens", ge=64, le=65536
    )
    rounds: int = setting(
        5, "How often each speed is measured; the medians count.", unit="rounds", ge=2, le=99
    )
    limit_s: float = setting(
        60.0,
        "Time for one variant; past it there are no more rounds than two, and no more text than one window.",
        unit="s",
        ge=1,
        le=86400,
    )


class CalibrationSettings(Section):
    """What was measured of this board (docs/calibrate.md)."""

    apply: bool = setting(
        True,
        "Serve a model as outpost calibrate has found it to be fastest, where nothing else is set; false: "
        "only measure and show.",
    )
    limit_s: float = setting(60.0, "Time for one model, waits not counted.", unit="s", ge=5, le=3600)
