"""What the accounts are kept by, what befalls them, and what is told of them. Pure."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from appliance.access import usage_file
from appliance.access.grants import Bounds
from appliance.config import Config


class Fault(StrEnum):
    """Why nothing is written."""

    DAMAGED = "damaged"
    FULL = "full"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsPolicy:
    data: Path
    is_kept: bool = True
    keep_days: int = 90
    defaults: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsHealth:
    pending_rows: int
    lost: int
    """Additions for which there was no place while nothing could be written."""
    faults: Mapping[str, int]
    """Since the start, by `Fault`."""


def fault_of(error: sqlite3.Error | OSError) -> Fault:
    if isinstance(error, sqlite3.Error) and usage_file.is_damage(error):
        return Fault.DAMAGED
    code = getattr(error, "sqlite_errorcode", None)
    return Fault.FULL if code == sqlite3.SQLITE_FULL else Fault.FAILED


def accounts_policy(config: Config) -> AccountsPolicy:
    quotas = config.quotas
    return AccountsPolicy(
        data=config.data.dir,
        is_kept=config.usage.enabled,
        keep_days=config.usage.keep_days,
        defaults=Bounds(
            requests_per_min=quotas.requests_per_min or None,
            tokens_per_min=quotas.tokens_per_min or None,
            tokens_per_day=quotas.tokens_per_day or None,
            concurrency=quotas.concurrency or None,
        ),
    )
