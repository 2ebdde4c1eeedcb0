"""The waiting room as samples for `/metrics`: `outpost_queue_*`, by class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.supervisor.turn import Priority, QueueCounts
from appliance.telemetry.families import Family, Sample

_PRIORITY: Final = ("priority",)
_WAITING: Final = Family("queue_waiting", "Requests in line for a model, by class.", labels=_PRIORITY)
_HELD: Final = Family("queue_background_held", "1 while no background request may begin.")
_EXPIRED: Final = Family("queue_expired_total", "Deadlines that passed in line.", "counter", _PRIORITY)
_DISPLACED: Final = Family(
    "queue_displaced_total",
    "Requests that gave their place in a full queue to another.",
    "counter",
    _PRIORITY,
)
FAMILIES: Final = (_WAITING, _HELD, _EXPIRED, _DISPLACED)


def queue_samples(counts: QueueCounts) -> list[Sample]:
    return [
        *_by_class(_WAITING, counts.waiting),
        _HELD.sample(float(counts.is_background_held)),
        *_by_class(_EXPIRED, counts.expired),
        *_by_class(_DISPLACED, counts.displaced),
    ]


def _by_class(family: Family, counted: dict[Priority, int]) -> Iterator[Sample]:
    yield from (family.sample(value, priority.value) for priority, value in counted.items())
