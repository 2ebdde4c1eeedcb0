"""What FROM, ADAPTER and DRAFT of a Modelfile point to, as blobs of the store.

    sha256:…             a blob that is in the store already (sent before, or of another model)
    a path               GGUF files of this machine; only for callers that sit at it
    a name               a model of the store, with all its parts

A local file is checked before it is taken in, so that only models ever enter the store by a path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.errors import (
    InvalidReference,
    InvalidRequest,
    ModelfileInvalid,
    NotAllowed,
    Unsupported,
)
from appliance.modelfile import Source, SourceForm
from appliance.store import admission
from appliance.store.admission import GgufFacts, GgufKind
from appliance.store.content import Progress, Report
from appliance.store.descriptor import Descriptor
from appliance.store.digest import parse_digest
from appliance.store.headers import blob_header
from appliance.store.layout import Layout
from appliance.store.local_files import gguf_files
from appliance.store.model import StoredModel
from appliance.store.outside import size_at, status_at
from appliance.store.reference import Reference, parse_reference
from appliance.store.space import Room

PARSING: Final = "parsing GGUF"
_SPLIT_NUMBER: Final = "split.no"
_SPLIT_COUNT: Final = "split.count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gguf:
    """One GGUF, or one split into several files in order."""

    kind: GgufKind
    blobs: tuple[Descriptor, ...]
    split: int | None = None
    """Which part of a split model it is, where its parts were named one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Files of this machine that are one GGUF: checked, and not yet taken in."""

    facts: GgufFacts
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """All that the FROM lines give."""

    model: StoredModel | None = None
    """The last that was named."""
    files: tuple[Gguf, ...] = field(default=())


class Sources:
    """For one creation; lives inside one call."""

    def __init__(
        self,
        layout: Layout,
        *,
        base_dir: Path | None,
        link: bool,
        report: Report,
        find: Callable[[Reference], StoredModel],
        hold: Callable[[Descriptor], None],
        before: Callable[[Sequence[Local]], None] = lambda _: None,
    ) -> None:
        """`base_dir` None: paths are refused. `find`: a model by its name. `hold`: keeps a blob from gc until
        the creation is over. `before` sees all files of FROM before a byte of them is copied, and may raise.
        """
        self._layout = layout
        self._base_dir = base_dir
        self._link = link
        self._report = report
        self._find = find
        self._before = before
        self._seen: dict[Source, list[Local] | None] = {}
        self.hold = hold

    def base(self, sources: tuple[Source, ...]) -> Base:
        """Raises ModelfileInvalid, ModelNotFound, ModelInvalid, NotAllowed."""
        model: StoredModel | None = None
        files: list[Gguf] = []
        seen = [(source, self._local(source)) for source in sources]
        self._before([one for _, local in seen for one in local or ()])
        taken = iter(self._take([one for _, local in seen for one in local or ()]))
        for source, local in seen:
            if local is not None:
                files += [next(taken) for _ in local]
            elif source.digest is not None:
                files.append(self._blob(source, source.digest))
            else:
                model = self._find(self._reference(source))
        return Base(model=model, files=joined(files))

    def require(self, source: Source, kind: GgufKind, *, is_whole: bool = False) -> list[Local]:
        """That ADAPTER or DRAFT names a single GGUF of this kind, by its header: nothing is copied. The files
        of this machine, if it is there. Raises ModelfileInvalid, ModelInvalid, ModelNotFound, NotAllowed,
        Unsupported for a split one where it must be `is_whole`.
        """
        local = self._local(source)
        if local is None and source.digest is None:
            raise ModelfileInvalid(line=source.line, reason=f"there is no file {source.text!r}")
        kinds = [one.facts.kind for one in local or ()] or [self._blob(source, source.digest or "").kind]
        if kinds != [kind]:
            raise ModelfileInvalid(line=source.line, reason=f"{source.text!r} is no GGUF of one {kind}")
        if is_whole and local and len(local[0].paths) > 1:
            raise Unsupported(feature="DRAFT", reason="a split GGUF cannot be a draft model")
        return list(local or ())

    def one(self, source: Source, kind: GgufKind, *, is_whole: bool = False) -> tuple[Descriptor, ...]:
        """The single GGUF of this kind that ADAPTER or DRAFT names. Raises as `require` does, and
        InsufficientSpace.
        """
        local = self.require(source, kind, is_whole=is_whole)
        (found,) = self._take(local) or [self._blob(source, source.digest or "")]
        return found.blobs

    def _local(self, source: Source) -> list[Local] | None:
        """None: it is a digest or a name. Looked at once. Raises InvalidRequest, ModelInvalid."""
        if source not in self._seen:
            self._seen[source] = self._look(source)
        return self._seen[source]

    def _look(self, source: Source) -> list[Local] | None:
        path = None if source.digest is not None else self._path(source)
        if path is None:
            return None
        self._report(Progress(status=PARSING))
        return [
            Local(facts=admission.check(parts, model=parts[0].name), paths=parts)
            for parts in gguf_files(path)
        ]

    def _take(self, local: Sequence[Local]) -> list[Gguf]:
        """With room for all of them or none. Raises InsufficientSpace."""
        left = sum(size_at(path) for one in local for path in one.paths)
        found = []
        with self._layout.space.room() as room:
            for one in local:
                blobs = []
                for path in one.paths:
                    left -= size_at(path)
                    blobs.append(self._adopt(path, room, left))
                found.append(Gguf(kind=one.facts.kind, blobs=tuple(blobs)))
        return found

    def _path(self, source: Source) -> Path | None:
        """None: it is no path. A name wins nothing by a file that is not there."""
        if self._base_dir is None:
            if source.form is SourceForm.PATH:
                raise NotAllowed(
                    reason=f"(line {source.line}): {source.text!r} is a path; from another machine send the "
                    "file as a blob and name its digest"
                )
            return None
        try:
            path = self._base_dir / Path(source.text).expanduser()
            exists = status_at(path) is not None
        except (InvalidRequest, RuntimeError) as error:
            if source.form is SourceForm.PATH:
                raise ModelfileInvalid(line=source.line, reason=f"{source.text!r}: {error}") from error
            return None
        if not exists and source.form is SourceForm.PATH:
            raise ModelfileInvalid(line=source.line, reason=f"there is no file {source.text!r}")
        return path if exists else None

    def _reference(self, source: Source) -> Reference:
        try:
            return parse_reference(source.text)
        except InvalidReference as error:
            raise ModelfileInvalid(line=source.line, reason=f"FROM: {error.message}") from error

    def _blob(self, source: Source, text: str) -> Gguf:
        digest = parse_digest(text)
        header = blob_header(self._layout, digest, model=source.text)
        blob = Descriptor(media_type="application/octet-stream", digest=digest, size=header.file_bytes)
        self.hold(blob)
        split = header.integer(_SPLIT_NUMBER) if (header.integer(_SPLIT_COUNT) or 0) > 1 else None
        return Gguf(kind=admission.kind_of(header), blobs=(blob,), split=split)

    def _adopt(self, path: Path, room: Room, later_bytes: int) -> Descriptor:
        blob = self._layout.adopt(
            path, link=self._link, report=self._report, room=room, later_bytes=later_bytes
        )
        self.hold(blob)
        return blob


def joined(files: Sequence[Gguf]) -> tuple[Gguf, ...]:
    """Parts of a split model that were named one by one become one, in the order of their numbers."""
    parts = sorted((one for one in files if one.split is not None), key=lambda one: one.split or 0)
    whole = [one for one in files if one.split is None]
    if parts:
        blobs = tuple(blob for part in parts for blob in part.blobs)
        whole.append(Gguf(kind=parts[0].kind, blobs=blobs))
    return tuple(whole)
