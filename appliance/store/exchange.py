"""Models in and out as files: a GGUF, a directory with an OCI layout (a stick), a tar of one, a store of
Ollama's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from appliance.errors import InvalidRequest
from appliance.modelfile import Modelfile, Source
from appliance.store.archive import TarSource, TarTarget
from appliance.store.build import Builder, Order
from appliance.store.choosing import chooser
from appliance.store.content import EXPORTING, IMPORTING, Report
from appliance.store.content import Source as ContentSource
from appliance.store.copy import copy
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.files import status_of
from appliance.store.gate import Gate
from appliance.store.homes import without_homes
from appliance.store.layout import Layout
from appliance.store.local_files import name_for
from appliance.store.names import Entry
from appliance.store.ollama_store import OllamaStore
from appliance.store.outside import status_at
from appliance.store.picking import Form, Taking, form_of, one_asked_for, picked
from appliance.store.reference import Reference
from appliance.store.shelf import Shelf


class Readable(Protocol):
    """The part of a `content.Source` that needs no name."""

    is_parallel: bool

    def fetch(self, descriptor: Descriptor) -> bytes: ...

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]: ...


class Named(Readable, Protocol):
    """A layout, in a directory or a tar."""

    def entries(self) -> tuple[Entry, ...]: ...


class Exchange:
    """Any thread."""

    def __init__(
        self,
        layout: Layout,
        gate: Gate,
        shelf: Shelf,
        builder: Builder,
        *,
        available_bytes: Callable[[], int | None],
    ) -> None:
        self._layout = layout
        self._gate = gate
        self._shelf = shelf
        self._builder = builder
        self._available_bytes = available_bytes

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────

    def import_file(self, taking: Taking, report: Report) -> list[Reference]:
        """Returns the names it has now. Raises InvalidRequest, ModelNotFound, ContentError,
        InsufficientSpace.
        """
        path, form = taking.path, form_of(taking.path)
        if taking.link and form is not Form.FILES:
            raise InvalidRequest(
                reason=f"only GGUF files can be shared; {path} is none ({form})", param="link"
            )
        if form is Form.LAYOUT:
            with Layout(path, files=self._layout.files, read_only=True) as source:
                return self._import_layout(source, taking, report)
        if form is Form.TAR:
            with TarSource(path, files=self._layout.files) as tar:
                return self._import_layout(tar, taking, report)
        if form is Form.OLLAMA:
            return self._import_ollama(OllamaStore(path, files=self._layout.files), taking, report)
        return self._import_files(taking, report)

    def _import_files(self, taking: Taking, report: Report) -> list[Reference]:
        path = taking.path
        if taking.name is not None and taking.as_name is not None:
            raise InvalidRequest(reason=f"{path} is one model; give it one name", param="as_name")
        reference = taking.as_name or taking.name or name_for(path.name)
        recipe = Modelfile(from_=(Source(text=str(path.absolute())),))
        self._builder.build(
            Order(reference=reference, recipe=recipe, base_dir=path.parent, link=taking.link), report
        )
        return [reference]

    def _import_layout(self, source: Named, taking: Taking, report: Report) -> list[Reference]:
        wanted = picked(source.entries(), taking)
        for entry, reference in wanted:
            content = source.fetch(entry.descriptor)
            resolved = Resolved(descriptor=entry.descriptor, content=content)
            self._import_one(_Picked(source, resolved), reference, report)
        return [reference for _, reference in wanted]

    def _import_ollama(self, source: OllamaStore, taking: Taking, report: Report) -> list[Reference]:
        [(model, reference)] = picked(one_asked_for(source.models(), taking), taking)
        self._import_one(_Picked(source, source.read(model)), reference, report)
        return [reference]

    def _import_one(self, source: ContentSource, reference: Reference, report: Report) -> None:
        choose = chooser(model=reference.display, available_bytes=self._available_bytes, report=report)
        copy(
            source,
            reference,
            self._shelf,
            report=report,
            choose=choose,
            admit=lambda manifest: self._gate.admit(manifest, model=reference.display, report=report),
            words=IMPORTING,
        )

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────

    def export(self, reference: Reference, target: Path, report: Report) -> None:
        """See `export`."""
        export(self._layout, reference, target, report)


def export(layout: Layout, reference: Reference, target: Path, report: Report) -> None:
    """Into a tar, or into a directory that is made or added to. Raises ModelNotFound, ModelBroken,
    InvalidRequest, InsufficientSpace, StoreFault.
    """
    descriptor = layout.lookup(reference)
    with layout.hold(list(layout.closure(descriptor))):
        told = Resolved(descriptor=without_homes(descriptor), content=layout.fetch(descriptor))
        source = _Picked(layout, told)
        if target.suffix.lower() == ".tar":
            with TarTarget(target, files=layout.files) as tar:
                copy(source, reference, tar, report=report, words=EXPORTING)
            return
        there, own = status_at(target), status_of(layout.root)
        if there is not None and own is not None and os.path.samestat(there, own):
            raise InvalidRequest(reason=f"{target} is the store itself")
        with Layout(target, files=layout.files, floor_fraction=0.0, portable=True) as directory:
            copy(source, reference, directory, report=report, words=EXPORTING)


class _Picked:
    """One entry of a source, whatever name is asked for: it may come under another, or have none that is a
    model's.
    """

    def __init__(self, source: Readable, resolved: Resolved) -> None:
        self._resolved = resolved
        self.is_parallel = source.is_parallel
        self.fetch = source.fetch
        self.open = source.open

    def resolve(self, reference: Reference) -> Resolved:  # noqa: ARG002 - the entry is the answer
        return self._resolved
