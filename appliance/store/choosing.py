"""Which variant of an index is pulled: the decision of `variants.py`, told to whoever waits and kept with the
name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from appliance.store.content import Progress, Report
from appliance.store.copy import Choose
from appliance.store.descriptor import Descriptor, ImageIndex
from appliance.store.model_config import Fetch
from appliance.store.variants import choose, variants_of

CHOICE: Final = "org.outpost.variant.reason"
"""Annotation of a name: why this variant."""


def chooser(*, model: str, available_bytes: Callable[[], int | None], report: Report) -> Choose:
    """What it returns raises InsufficientMemory, ManifestInvalid."""

    def chosen(index: ImageIndex, fetch: Fetch) -> Descriptor:
        choice = choose(variants_of(index, fetch, what=model), available_bytes(), model=model)
        report(Progress(status=f"chosen: {choice.reason}"))
        entry = choice.variant.descriptor
        return replace(entry, annotations={**entry.annotations, CHOICE: choice.reason})

    return chosen
