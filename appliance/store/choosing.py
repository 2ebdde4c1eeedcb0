"""Which variant of an index is pulled: the decision of `variants.py`, told to whoever waits and kept with the
name. All that could be had are told before it, with the digests by which one of them can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from appliance.errors import ResourceError
from appliance.store.content import Progress, Report
from appliance.store.copy import Choose
from appliance.store.descriptor import Descriptor, ImageIndex
from appliance.store.layout import Layout
from appliance.store.model_config import Fetch
from appliance.store.reference import Reference
from appliance.store.variants import choose, variants_of

CHOICE: Final = "org.outpost.variant.reason"
"""Annotation of a name: why this variant."""


def chooser(*, model: str, available_bytes: Callable[[], int | None], report: Report) -> Choose:
    """What it returns raises InsufficientMemory, ManifestInvalid."""

    def chosen(index: ImageIndex, fetch: Fetch) -> Descriptor:
        variants = variants_of(index, fetch, what=model)
        for variant in sorted(variants, key=lambda variant: variant.size_bytes):
            report(Progress(status=f"variant {variant.need}", digest=variant.descriptor.digest))
        choice = choose(variants, available_bytes(), model=model)
        report(Progress(status=f"chosen: {choice.reason}"))
        entry = choice.variant.descriptor
        return replace(entry, annotations={**entry.annotations, CHOICE: choice.reason})

    return chosen


def remember(layout: Layout, reference: Reference, taken: Descriptor) -> None:
    """A name that stood for this variant before tells the newest reason; none, where it was asked for by its
    digest. A disk that refuses loses only that.
    """
    reason = taken.annotations.get(CHOICE)

    def told(before: Mapping[str, str]) -> dict[str, str]:
        others = {key: value for key, value in before.items() if key != CHOICE}
        return others if reason is None else {**others, CHOICE: reason}

    with suppress(ResourceError):
        layout.annotate(reference, taken.digest, told)
