"""Streams that are kept to be resumed, as samples for `/metrics`: `outpost_resumable_*`."""

from __future__ import annotations

from typing import Final

from appliance.telemetry.families import Family, Sample

_STREAMS: Final = Family(
    "resumable_streams",
    "Streams kept to be resumed: that still run, or that are over and not forgotten.",
    labels=("state",),
)
_BYTES: Final = Family("resumable_stream_bytes", "Memory that the events of these take.")
FAMILIES: Final = (_STREAMS, _BYTES)


def stream_samples(*, running: int, over: int, size_bytes: int) -> list[Sample]:
    return [
        _STREAMS.sample(running, "running"),
        _STREAMS.sample(over, "over"),
        _BYTES.sample(size_bytes),
    ]
