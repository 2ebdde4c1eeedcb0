"""Times as Ollama writes them: RFC 3339 for moments, whole nanoseconds for durations."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

NS: Final = 1_000_000_000
FOR_EVER: Final = timedelta(days=292 * 365.25)
"""How far ahead Ollama puts what never expires."""


def seconds_text(unix_s: int) -> str:
    """`created_at` up to the point before its fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(unix_s))


def now() -> str:
    second, fraction = divmod(time.time_ns(), NS)
    return f"{seconds_text(second)}{fraction:09d}Z"


def moment(unix_s: float) -> str:
    """In the form that `datetime.fromisoformat` of every Python reads."""
    return datetime.fromtimestamp(max(0.0, unix_s), UTC).isoformat(timespec="microseconds")


def expiry(in_s: float | None) -> str:
    """When a model goes out of memory; None: it stays."""
    ahead = FOR_EVER if in_s is None else min(FOR_EVER, timedelta(seconds=in_s))
    return (datetime.now(UTC) + ahead).isoformat(timespec="microseconds")


def nanoseconds(seconds: float | None) -> int:
    return round((seconds or 0.0) * NS)
