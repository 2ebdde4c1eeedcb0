"""The gate: what must hold before a model gets its name.

1. Its manifest is a model's, its parameters are within bounds, and every blob of it is there.
2. A model of the same files in the same roles, template and placement that has a name was let in before: it
   is let in.
3. Every GGUF passes the static check (`admission.py`).
4. A throw-away runner loads all of it and computes one token (the probe). A projector is not loaded: nothing
   serves it yet.

What fails 3 or 4 is content that would harm: the files at fault, and no others, go to quarantine with the
reason, unless a model that has a name needs them. What passes and still falls short is told as a warning.
That the system does not let a file be read just now (an I/O error, no more descriptors) proves nothing
against it: FileUnreadable, no name, no quarantine, and the next try begins with what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from appliance.errors import FileUnreadable, ModelInvalid, OutpostError
from appliance.store import admission, admission_dialect
from appliance.store.admission import GgufFacts, GgufKind
from appliance.store.content import Progress, Report, Wanted
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import Digest
from appliance.store.examine import Examination
from appliance.store.files import only_read
from appliance.store.headers import blob_header
from appliance.store.layout import Layout
from appliance.store.model import StoredModel, TemplateKind, read_model
from appliance.store.model_settings import settings_of
from appliance.store.notes import notes_of
from appliance.store.reader import ModelReader
from appliance.store.template import served_template

READ_STEP_BYTES: Final = 64 << 20
VALIDATING: Final = "validating GGUF model"

Placement = Mapping[str, int | bool]
"""What its parameters say of how it is loaded, by the names of our wire."""
_PLAIN: Final[Placement] = MappingProxyType({})


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
    placement: Placement = field(default_factory=lambda: _PLAIN)


class Probe(Protocol):
    """Tries a model in a process of its own."""

    def __call__(self, request: ProbeRequest, *, wanted: Wanted) -> None:
        """Raises ModelInvalid when the model, not the machine, is at fault, and what `wanted` raises. Blocks
        for seconds; has its own deadline.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Equal for models of which a runner makes the same. By role: a file that is sound as one is not yet
    sound as another.
    """

    weights: tuple[Digest, ...]
    adapters: tuple[Digest, ...]
    projector: Digest | None
    draft: Digest | None
    template: str | None
    template_kind: TemplateKind | None
    placement: Placement


class Gate:
    """Any thread."""

    def __init__(self, layout: Layout, reader: ModelReader, *, probe: Probe | None) -> None:
        """`probe` None: only the static check (this process cannot start a runner)."""
        self._layout = layout
        self._reader = reader
        self._probe = probe

    def admit(self, manifest: Manifest, *, model: str, report: Report) -> None:
        """Returns when the model may have its name. Raises ModelInvalid, ManifestInvalid, ModelNotFound,
        FileUnreadable.
        """
        stored = read_model(manifest, lambda blob: self._layout.fetch(blob, to_admit=True))  # 1
        likeness = likeness_of(stored, model=model)
        if any(known == likeness for known in self._likenesses()):  # 2
            header = blob_header(self._layout, stored.weights[0].digest, model=model)
            notes = admission_dialect.notes(header)
        else:
            news = Progress(status=VALIDATING)
            report(news)
            notes = self._check(stored, model).notes  # 3
            self._try(stored, likeness.placement, model, lambda: report(news))  # 4
        for note in notes_of(stored, notes):
            report(Progress(status=f"warning: {note}"))

    def _named(self) -> Iterator[StoredModel]:
        """Sound models that have a name."""
        for _, descriptor in self._layout.references():
            with contextlib.suppress(OutpostError):
                model = self._reader.model(descriptor)
                if self._layout.broken(descriptor) is None:
                    yield model

    def _likenesses(self) -> Iterator[Likeness]:
        for model in self._named():
            with contextlib.suppress(OutpostError):
                yield likeness_of(model, model="")

    # ── the static check ────────────────────────────────────────────────────────────────────────────

    def _check(self, stored: StoredModel, model: str) -> GgufFacts:
        """Facts of the weights."""
        facts = self._judged(stored.weights, GgufKind.MODEL, model)
        for blob, kind in _companions(stored):
            self._judged((blob,), kind, model)
        return facts

    def _judged(self, blobs: Sequence[Descriptor], kind: GgufKind, model: str) -> GgufFacts:
        headers = []
        for number, blob in enumerate(blobs, start=1):
            with self._blaming((blob,)):
                header = blob_header(self._layout, blob.digest, model=model)
                split = number if len(blobs) > 1 else None
                headers.append(admission.sound(header, model=model, split=split))
        with self._blaming(blobs):
            facts = admission.judge(headers, model=model)
        # A sound file in the wrong place is the manifest's fault, and stays where it is.
        admission.require_kind(facts, kind, model=model)
        return facts

    # ── the probe ───────────────────────────────────────────────────────────────────────────────────

    def _try(self, stored: StoredModel, placement: Placement, model: str, wanted: Wanted) -> None:
        if self._probe is None:
            return
        paths = self._paths(stored.weights)
        request = ProbeRequest(
            model=model,
            paths=paths,
            adapters=self._paths(stored.adapters),
            draft=None if stored.draft is None else self._path(stored.draft),
            template=served_template(stored, paths[0]).text,
            placement=placement,
        )
        try:
            self._probe(request, wanted=wanted)
        except ModelInvalid as fault:
            self._blame(stored, request, fault, wanted)
            raise

    def _blame(self, stored: StoredModel, failed: ProbeRequest, fault: ModelInvalid, wanted: Wanted) -> None:
        """Find what is at fault of a model that failed as a whole, by trying less of it: the weights alone,
        then with each companion alone. Where all of that passes (its placement, or how the parts go together)
        nothing is put away: without a name it is never served, and gc takes it.
        """
        plain = replace(failed, adapters=(), draft=None, template=None, placement=_PLAIN)
        trials = [(stored.weights, plain)]
        for blob, path in zip(stored.adapters, failed.adapters, strict=True):
            trials.append(((blob,), replace(plain, adapters=(path,))))
        if stored.draft is not None:
            trials.append(((stored.draft,), replace(plain, draft=failed.draft)))
        try:
            for blobs, trial in trials:
                found = fault if trial == failed else self._fault_of(trial, wanted)
                if found is not None:
                    for blob in blobs:
                        self._require_readable(blob, wanted)
                    self._put_away(blobs, found)
                    return
        except FileUnreadable:
            raise
        except OutpostError:
            return  # the first fault is told, whatever the search meets

    def _fault_of(self, request: ProbeRequest, wanted: Wanted) -> ModelInvalid | None:
        assert self._probe is not None
        try:
            self._probe(request, wanted=wanted)
        except ModelInvalid as fault:
            return fault
        return None

    def _require_readable(self, blob: Descriptor, wanted: Wanted) -> None:
        """A runner that the disk does not give the file to dies as one that chokes on it. Raises
        FileUnreadable.
        """
        path, files = self._path(blob), self._layout.files
        with only_read(), Examination(files, path, blob.digest, from_disk=False) as reading:
            while reading.step(READ_STEP_BYTES):
                wanted()
            if reading.lost is not None:
                raise reading.lost

    # ── quarantine ──────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _blaming(self, blobs: Sequence[Descriptor]) -> Iterator[None]:
        """A ModelInvalid inside is the fault of these."""
        try:
            yield
        except ModelInvalid as fault:
            self._put_away(blobs, fault)
            raise

    def _put_away(self, blobs: Sequence[Descriptor], fault: ModelInvalid) -> None:
        for digest in {blob.digest for blob in blobs}:
            self._layout.put_away(digest, str(fault.fields["reason"]), needed=self._needed)

    def _needed(self) -> frozenset[Digest]:
        return frozenset(blob.digest for known in self._named() for blob in known.files)

    def _paths(self, blobs: Sequence[Descriptor]) -> tuple[Path, ...]:
        return tuple(self._path(blob) for blob in blobs)

    def _path(self, blob: Descriptor) -> Path:
        return self._layout.path(blob.digest, to_admit=True)


def likeness_of(stored: StoredModel, *, model: str) -> Likeness:
    """Raises ModelInvalid for parameters out of bounds."""
    return Likeness(
        weights=tuple(blob.digest for blob in stored.weights),
        adapters=tuple(blob.digest for blob in stored.adapters),
        projector=_digest(stored.projector),
        draft=_digest(stored.draft),
        template=stored.template,
        template_kind=stored.template_kind,
        placement=settings_of(stored.params, model=model).placement,
    )


def _digest(blob: Descriptor | None) -> Digest | None:
    return None if blob is None else blob.digest


def _companions(stored: StoredModel) -> Iterator[tuple[Descriptor, GgufKind]]:
    for adapter in stored.adapters:
        yield adapter, GgufKind.ADAPTER
    if stored.projector is not None:
        yield stored.projector, GgufKind.PROJECTOR
    if stored.draft is not None:
        yield stored.draft, GgufKind.MODEL
