"""Models put straight into a real layout, without the verbs that bring and admit them."""

from __future__ import annotations

from pathlib import Path

from appliance.store.artifact import Parts, compose
from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.digest import digest_of
from appliance.store.layout import Layout
from appliance.store.manifest import render_manifest
from appliance.store.media_types import OCI_MANIFEST
from appliance.store.reference import parse_reference
from tests.fakes.artifacts import Artifact
from tests.fakes.model_files import UnsyncedFiles


def store_model(layout: Layout, name: str, file: Path, *, system: str | None = None) -> Descriptor:
    """`file` as the weights of a model of that name; the manifest's descriptor."""
    composed = compose(Parts(weights=(layout.adopt(file),), system=system))
    for blob, content in composed.blobs:
        layout.put(content, blob.media_type)
    layout.publish(parse_reference(name), Resolved(descriptor=composed.descriptor, content=composed.content))
    return composed.descriptor


def write_stick(directory: Path, name: str, artifact: Artifact) -> Path:
    """A layout with one model as somebody else made it, to be imported."""
    content = render_manifest(
        Manifest(media_type=OCI_MANIFEST, config=artifact.config, layers=tuple(artifact.layers))
    )
    manifest = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(content), size=len(content))
    with Layout(directory, files=UnsyncedFiles(), floor_fraction=0.0, portable=True) as layout:
        for blob in (artifact.config, *artifact.layers):
            layout.put(artifact.blobs[blob.digest], blob.media_type)
        layout.publish(parse_reference(name), Resolved(descriptor=manifest, content=content))
    return directory
