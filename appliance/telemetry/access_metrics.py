"""Quotas, wrong keys and accounts as samples for `/metrics`. No label names a key: `outpost usage` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.telemetry.families import Family, Sample

_REFUSED: Final = Family(
    "rate_limited_total", "Requests refused by a bound of their key.", "counter", ("bound",)
)
_WRONG_KEYS: Final = Family("wrong_keys_total", "Wrong keys that came.", "counter")
_WRONG_KEYS_REFUSED: Final = Family(
    "wrong_keys_refused_total",
    "Of them, those that were answered by 429, because too many had come from there.",
    "counter",
)
_PENDING: Final = Family("usage_pending_rows", "Rows of usage that are not on disk yet.")
_LOST: Final = Family("usage_lost_total", "Additions to the usage for which there was no room.", "counter")
_FAULTS: Final = Family(
    "usage_faults_total", "Why usage could not be written, each beginning.", "counter", ("fault",)
)
_AUDIT_LOST: Final = Family(
    "audit_lost_total", "Changes that were made, and that the audit log did not take.", "counter"
)
FAMILIES: Final = (_REFUSED, _WRONG_KEYS, _WRONG_KEYS_REFUSED, _PENDING, _LOST, _FAULTS, _AUDIT_LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCounts:
    """Since the start, but for `pending_rows`."""

    refused: Mapping[str, int]
    """Requests, by the bound of the key that refused them."""
    wrong_keys: int
    wrong_keys_refused: int
    pending_rows: int
    lost: int
    faults: Mapping[str, int]
    audit_lost: int


def access_samples(counts: AccessCounts) -> list[Sample]:
    return [
        *(_REFUSED.sample(value, bound) for bound, value in counts.refused.items()),
        _WRONG_KEYS.sample(counts.wrong_keys),
        _WRONG_KEYS_REFUSED.sample(counts.wrong_keys_refused),
        _PENDING.sample(counts.pending_rows),
        _LOST.sample(counts.lost),
        *(_FAULTS.sample(value, fault) for fault, value in counts.faults.items()),
        _AUDIT_LOST.sample(counts.audit_lost),
    ]
