"""Models in and out as files: a GGUF, a directory with an OCI layout (a stick), a tar of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import InvalidRequest, ModelNotFound
from appliance.modelfile import Modelfile, Source
from appliance.store.archive import TarSource, TarTarget
from appliance.store.build import Builder, Order
from appliance.store.choosing import chooser
from appliance.store.content import EXPORTING, IMPORTING, Report
from appliance.store.content import Source as ContentSource
from appliance.store.copy import copy
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.gate import Gate
from appliance.store.layout import Layout
from appliance.store.local_files import name_for
from appliance.store.names import Entry
from appliance.store.reference import Reference
from appliance.store.shelf import Shelf

_TAR_MAGIC: Final = (257, b"ustar")


class Named(ContentSource, Protocol):
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

    def import_file(
        self, path: Path, name: Reference | None, report: Report, *, link: bool
    ) -> list[Reference]:
        """Returns the names it has now. Raises InvalidRequest, ModelNotFound, ContentError,
        InsufficientSpace.
        """
        if not path.exists():
            raise InvalidRequest(reason=f"{path}: no such file or directory")
        if _is_layout(path):
            with Layout(path, files=self._layout.files, read_only=True) as source:
                return self._import_layout(source, path, name, report)
        if _is_tar(path):
            with TarSource(path, files=self._layout.files) as tar:
                return self._import_layout(tar, path, name, report)
        reference = name or name_for(path.name)
        recipe = Modelfile(from_=(Source(text=str(path.absolute())),))
        self._builder.build(
            Order(reference=reference, recipe=recipe, base_dir=path.parent, link=link), report
        )
        return [reference]

    def _import_layout(
        self, source: Named, path: Path, name: Reference | None, report: Report
    ) -> list[Reference]:
        wanted = picked(source.entries(), name, what=str(path))
        for entry, reference in wanted:
            self._import_one(_Picked(source, entry.descriptor), reference, report)
        return [reference for _, reference in wanted]

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
        """Raises ModelNotFound, ModelBroken, InvalidRequest, InsufficientSpace, StoreFault."""
        descriptor = self._layout.lookup(reference)
        with self._layout.hold(list(self._layout.closure(descriptor))):
            if target.suffix.lower() == ".tar":
                with TarTarget(target, files=self._layout.files) as tar:
                    copy(self._layout, reference, tar, report=report, words=EXPORTING)
                return
            if target.resolve() == self._layout.root.resolve():
                raise InvalidRequest(reason=f"{target} is the store itself")
            with Layout(target, files=self._layout.files, floor_fraction=0.0, portable=True) as directory:
                copy(self._layout, reference, directory, report=report, words=EXPORTING)


class _Picked:
    """One entry of a layout, whatever name is asked for: it may come under another, or have none that is a
    model's.
    """

    def __init__(self, source: ContentSource, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor
        self.is_parallel = source.is_parallel
        self.fetch = source.fetch
        self.open = source.open

    def resolve(self, reference: Reference) -> Resolved:  # noqa: ARG002 - the entry is the answer
        return Resolved(descriptor=self._descriptor, content=self._source.fetch(self._descriptor))


def picked(entries: tuple[Entry, ...], name: Reference | None, *, what: str) -> list[tuple[Entry, Reference]]:
    """What is to be imported, and as what.

    1. No name given: every entry that has one.
    2. A name that stands there: that entry.
    3. Another name: the only entry, renamed.
    """
    named = [(entry, entry.reference) for entry in entries if entry.reference is not None]
    if name is None:
        if not named:
            raise InvalidRequest(reason=f"{what} has no model with a name; give it one")
        return named  # 1
    same = [(entry, name) for entry, reference in named if reference.key == name.key]
    if same:
        return same[:1]  # 2
    if len(entries) == 1:
        return [(entries[0], name)]  # 3
    raise ModelNotFound(model=name.display, available=[reference.display for _, reference in named])


def _is_layout(path: Path) -> bool:
    return (path / "oci-layout").is_file()


def _is_tar(path: Path) -> bool:
    if not path.is_file():
        return False
    offset, magic = _TAR_MAGIC
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(len(magic)) == magic
    except OSError as error:
        raise InvalidRequest(reason=f"{path}: {error.strerror}") from error
