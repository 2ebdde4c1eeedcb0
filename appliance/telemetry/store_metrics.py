"""What the health report tells of the model store, as samples for `/metrics`: `outpost_store_*`.

What is not known has no series: an alert on `outpost_store_fault` is not hidden by zeros beside it.
"""

from __future__ import annotations

from typing import Final

from appliance.health.report import StoreHealth
from appliance.telemetry.families import Family, Sample

_FAULT: Final = Family("store_fault", "1 while nothing is known of what is stored.")
_MODELS: Final = Family("store_models", "Names in the model store.")
_BROKEN: Final = Family("store_broken", "Of them, those that are broken and not served.")
_WITHHELD: Final = Family(
    "store_gc_withheld",
    "Of them, those whose manifest cannot be read: while there are any, no room is freed.",
)
_FREE: Final = Family("store_free_bytes", "Free on the disk of the model store.")
_FLOOR: Final = Family("store_floor_bytes", "Of the free bytes, what pulls and imports leave alone.")
FAMILIES: Final = (_FAULT, _MODELS, _BROKEN, _WITHHELD, _FREE, _FLOOR)


def store_samples(store: StoreHealth) -> list[Sample]:
    known = store.fault is None
    told: list[tuple[Family, float | None]] = [
        (_FAULT, 0 if known else 1),
        (_MODELS, store.models if known else None),
        (_BROKEN, len(store.broken) if known else None),
        (_WITHHELD, len(store.gc_withheld) if known else None),
        (_FREE, store.free_bytes),
        (_FLOOR, store.floor_bytes),
    ]
    return [family.sample(value) for family, value in told if value is not None]
