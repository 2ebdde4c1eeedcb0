"""The waiting room as samples for `/metrics`: `outpost_queue_*`, by class."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.supervisor.turn import Priority, QueueCounts
from appliance.telemetry.prometheus import Sample


def queue_samples(counts: QueueCounts) -> list[Sample]:
    return [
        *_by_class("queue_waiting", counts.waiting, "Requests in line for a model, by class.", "gauge"),
        Sample(
            name="queue_background_held",
            value=float(counts.is_background_held),
            help="1 while no background request may begin.",
        ),
        *_by_class("queue_expired_total", counts.expired, "Deadlines that passed in line.", "counter"),
        *_by_class(
            "queue_displaced_total",
            counts.displaced,
            "Requests that gave their place in a full queue to another.",
            "counter",
        ),
    ]


def _by_class(name: str, counted: dict[Priority, int], text: str, kind: str) -> Iterator[Sample]:
    for priority, value in counted.items():
        labels = (("priority", priority.value),)
        yield Sample(name=name, value=value, labels=labels, help=text, kind=kind)
