"""The tables about who may ask how much, and what is kept of it."""

from __future__ import annotations

from appliance.config.section import MIB, Section, setting


class QuotaSettings(Section):
    """How much each key may ask that has no bounds of its own; 0: as much as there is."""

    requests_per_min: int = setting(
        0, "Requests that ask a model, per minute and at once.", unit="requests", ge=0, le=10**9
    )
    tokens_per_min: int = setting(
        0, "Prompt and output tokens, per minute and at once.", unit="tokens", ge=0, le=10**12
    )
    tokens_per_day: int = setting(
        0,
        "Prompt and output tokens in 24 hours, which begin with the first of them.",
        unit="tokens",
        ge=0,
        le=10**12,
    )
    concurrency: int = setting(0, "Requests at work or waiting at once.", unit="requests", ge=0, le=10**6)


class UsageSettings(Section):
    """What is kept of who asked which model how much: never what was asked."""

    enabled: bool = setting(
        True, "Keep it, hour by hour, in usage.db of the data directory; quotas are kept in any case."
    )
    keep_days: int = setting(
        90,
        "Days with requests that are kept; older ones are removed, whatever the clock says.",
        unit="days",
        ge=1,
        le=3650,
    )


class AuditSettings(Section):
    """The audit log: who changed keys, models and configuration."""

    enabled: bool = setting(True, "Write it, in the folder audit of the data directory.")
    max_bytes: int = setting(
        16 * MIB, "All of its files together; the oldest go.", unit="bytes", ge=64 * 1024, le=1024 * MIB
    )
