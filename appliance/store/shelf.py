"""The store's layout as the target of copies: every name is dated, and who serves the models is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime

from appliance.store.content import Report, Source
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.homes import without_homes
from appliance.store.layout import Layout
from appliance.store.listing_rows import CREATED
from appliance.store.reference import Reference

Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Shelf:
    """A `content.Target`. Any thread."""

    def __init__(self, layout: Layout, *, on_change: Callable[[], None], now: Now = utc_now) -> None:
        """`on_change` is called on the publishing thread when a name stands for something else than
        before.
        """
        self._layout = layout
        self._on_change = on_change
        self._now = now

    def has(self, descriptor: Descriptor) -> bool:
        return self._layout.has(descriptor)

    def reserve(self, missing_bytes: int) -> None:
        self._layout.reserve(missing_bytes)

    def expect(self, blobs: Sequence[Descriptor]) -> AbstractContextManager[None]:
        return self._layout.expect(blobs)

    def take(self, descriptor: Descriptor, source: Source, report: Report) -> None:
        self._layout.take(descriptor, source, report)

    def publish(self, reference: Reference, resolved: Resolved) -> None:
        foreign = without_homes(resolved.descriptor)
        written = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        descriptor = replace(foreign, annotations={**foreign.annotations, CREATED: written})
        self._layout.publish(reference, replace(resolved, descriptor=descriptor))
        self._on_change()
