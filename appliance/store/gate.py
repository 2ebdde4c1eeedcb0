"""The gate: what must hold before a model gets its name.

1. Its manifest is a model's, its parameters are within bounds, and every blob of it is there.
2. A model of the same weights, companions and template that has a name was let in before: it is let in.
3. Every GGUF passes the static check (`admission.py`).
4. A throw-away runner loads all of it and computes one token (the probe).

What fails 3 or 4 is content that would harm: its files go to quarantine with the reason, except those of a
model that has a name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import ModelInvalid, OutpostError
from appliance.store import admission
from appliance.store.admission import GgufKind
from appliance.store.content import Progress, Report, Wanted
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.model import StoredModel, read_model
from appliance.store.reader import ModelReader
from appliance.store.serving import settings_of
from appliance.store.template import served_template

VALIDATING: Final = "validating GGUF model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """All files of one model, as a runner would get them."""

    model: str
    paths: tuple[Path, ...]
    """More than one: the parts of a split GGUF, in order."""
    adapters: tuple[Path, ...] = ()
    draft: Path | None = None
    template: str | None = None
    """Jinja that replaces the GGUF's own; None: the GGUF's."""
    size_bytes: int = 0


class Probe(Protocol):
    """Tries a model in a process of its own."""

    def __call__(self, request: ProbeRequest, *, wanted: Wanted) -> None:
        """Raises ModelInvalid when the model, not the machine, is at fault, and what `wanted` raises. Blocks
        for seconds; has its own deadline.
        """


class Gate:
    """Any thread."""

    def __init__(self, layout: Layout, reader: ModelReader, *, probe: Probe | None) -> None:
        """`probe` None: only the static check (this process cannot start a runner)."""
        self._layout = layout
        self._reader = reader
        self._probe = probe

    def admit(self, manifest: Manifest, *, model: str, report: Report) -> None:
        """Returns when the model may have its name. Raises ModelInvalid, ManifestInvalid, ModelNotFound."""
        stored = read_model(manifest, self._layout.fetch)  # 1
        settings_of(stored.params, model=model)
        if any(_likeness(known) == _likeness(stored) for known in self._named()):  # 2
            return
        news = Progress(status=VALIDATING)
        report(news)
        try:
            self._check(stored, model)  # 3
            self._try(stored, model, lambda: report(news))  # 4
        except ModelInvalid as fault:
            self._quarantine(stored, fault)
            raise

    def _named(self) -> Iterator[StoredModel]:
        """Sound models that have a name."""
        for _, descriptor in self._layout.references():
            with contextlib.suppress(OutpostError):
                model = self._reader.model(descriptor)
                if self._layout.broken(descriptor) is None:
                    yield model

    def _check(self, stored: StoredModel, model: str) -> None:
        admission.check(self._paths(stored.weights), model=model, kind=GgufKind.MODEL)
        companions = [(blob, GgufKind.ADAPTER) for blob in stored.adapters]
        if stored.projector is not None:
            companions.append((stored.projector, GgufKind.PROJECTOR))
        if stored.draft is not None:
            companions.append((stored.draft, GgufKind.MODEL))
        for blob, kind in companions:
            admission.check(self._paths([blob]), model=model, kind=kind)

    def _try(self, stored: StoredModel, model: str, wanted: Wanted) -> None:
        if self._probe is None:
            return
        paths = self._paths(stored.weights)
        self._probe(
            ProbeRequest(
                model=model,
                paths=tuple(paths),
                adapters=tuple(self._paths(stored.adapters)),
                draft=None if stored.draft is None else self._layout.path(stored.draft.digest),
                template=served_template(stored, paths[0]).text,
                size_bytes=sum(blob.size for blob in stored.files),
            ),
            wanted=wanted,
        )

    def _quarantine(self, stored: StoredModel, fault: ModelInvalid) -> None:
        kept = {blob.digest for known in self._named() for blob in known.files}
        for digest in {blob.digest for blob in stored.files} - kept:
            self._layout.quarantine(digest, str(fault.fields["reason"]))

    def _paths(self, blobs: Iterable[Descriptor]) -> list[Path]:
        return [self._layout.path(blob.digest) for blob in blobs]


def _likeness(stored: StoredModel) -> tuple[tuple[Digest, ...], str | None]:
    """Equal for models of which a runner makes the same."""
    return tuple(blob.digest for blob in stored.files), stored.template
