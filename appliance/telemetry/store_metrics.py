"""What the health report tells of the model store, as samples for `/metrics`: `outpost_store_*`.

What is not known has no series: an alert on `outpost_store_fault` is not hidden by zeros beside it.
"""

from __future__ import annotations

from appliance.health.report import StoreHealth
from appliance.telemetry.prometheus import Sample


def store_samples(store: StoreHealth) -> list[Sample]:
    known = store.fault is None
    told: list[tuple[str, float | None, str]] = [
        ("fault", 0 if known else 1, "1 while nothing is known of what is stored."),
        ("models", store.models if known else None, "Names in the model store."),
        ("broken", len(store.broken) if known else None, "Of them, those that are broken and not served."),
        (
            "gc_withheld",
            len(store.gc_withheld) if known else None,
            "Of them, those whose manifest cannot be read: while there are any, no room is freed.",
        ),
        ("free_bytes", store.free_bytes, "Free on the disk of the model store."),
        ("floor_bytes", store.floor_bytes, "Of the free bytes, what pulls and imports leave alone."),
    ]
    return [
        Sample(name=f"store_{name}", value=value, help=about)
        for name, value, about in told
        if value is not None
    ]
