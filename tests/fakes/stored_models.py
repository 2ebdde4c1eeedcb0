"""Models put straight into a real layout, without the verbs that bring and admit them."""

from __future__ import annotations

from pathlib import Path

from appliance.store.artifact import Parts, compose
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference


def store_model(layout: Layout, name: str, file: Path, *, system: str | None = None) -> Descriptor:
    """`file` as the weights of a model of that name; the manifest's descriptor."""
    composed = compose(Parts(weights=(layout.adopt(file),), system=system))
    for blob, content in composed.blobs:
        layout.put(content, blob.media_type)
    layout.publish(parse_reference(name), Resolved(descriptor=composed.descriptor, content=composed.content))
    return composed.descriptor
