"""Quotas, wrong keys and accounts as samples for `/metrics`. No label names a key: `outpost usage` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.telemetry.prometheus import Sample


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
    told = [
        ("wrong_keys_total", counts.wrong_keys, "Wrong keys that came.", "counter"),
        (
            "wrong_keys_refused_total",
            counts.wrong_keys_refused,
            "Of them, those that were answered by 429, because too many had come from there.",
            "counter",
        ),
        ("usage_pending_rows", counts.pending_rows, "Rows of usage that are not on disk yet.", "gauge"),
        ("usage_lost_total", counts.lost, "Additions to the usage for which there was no room.", "counter"),
        ("audit_lost_total", counts.audit_lost, "Entries that the audit log did not take.", "counter"),
    ]
    return [
        *_by("rate_limited_total", "bound", counts.refused, "Requests refused by a bound of their key."),
        *(Sample(name=name, value=value, help=text, kind=kind) for name, value, text, kind in told),
        *_by("usage_faults_total", "fault", counts.faults, "Why usage could not be written, each beginning."),
    ]


def _by(name: str, label: str, counts: Mapping[str, int], text: str) -> list[Sample]:
    return [
        Sample(name=name, value=value, labels=((label, key),), help=text, kind="counter")
        for key, value in counts.items()
    ]
