"""Rows of `outpost list`: what each name leads to, from manifests that are read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol, TypeVar

from appliance.errors import OutpostError
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.listing import ListedModel
from appliance.store.reader import ModelReader
from appliance.store.reading import Reading
from appliance.store.reference import Reference

CREATED: Final = "org.opencontainers.image.created"
"""Annotation of a name: when it was written."""
_LOOKS: Final = 5

Named = Sequence[tuple[Reference, Descriptor]]


class _Told(Protocol):
    @property
    def optimized(self) -> str | None: ...
    @property
    def hint(self) -> str | None: ...


Tell = Callable[[Descriptor, str | None], _Told]
"""What is said of a name's layout, with the type of its weights (`derived.Derivations.told`)."""


class _Broken(Protocol):
    @property
    def broken(self) -> str | None: ...


Told = TypeVar("Told", bound=_Broken)


def rows(
    layout: Reading, reader: ModelReader, *, prefix: str = "", tell: Tell | None = None
) -> list[ListedModel]:
    """Newest first, only names that begin so. A name whose manifest is gone or no model's is listed as
    broken.
    """
    listed = of_one_moment(layout, lambda named: _rows(layout, reader, named, tell))
    wanted = prefix.casefold()
    listed = [row for row in listed if row.name.casefold().startswith(wanted)]
    return sorted(listed, key=lambda row: (-row.modified_s, row.name))


def of_one_moment(layout: Reading, look: Callable[[Named], list[Told]]) -> list[Told]:
    """What `look` says of all names. Where something is broken it looks again if names have changed
    meanwhile: what was replaced, and collected before it was looked at, is not broken.
    """
    named = layout.references()
    told = look(named)
    for _ in range(_LOOKS):
        if not any(one.broken for one in told) or layout.references() == named:
            break
        named = layout.references()
        told = look(named)
    return told


def _rows(layout: Reading, reader: ModelReader, named: Named, tell: Tell | None) -> list[ListedModel]:
    reader.keep_only({descriptor.digest for _, descriptor in named})
    for _, descriptor in named:
        with suppress(OutpostError):  # told below, by who needs it
            reader.manifest(descriptor)  # from which the layout learns what is below
    sizes = {descriptor.digest: _sizes(layout, descriptor) for _, descriptor in named}
    uses = Counter(digest for _, descriptor in named for digest in sizes[descriptor.digest])
    listed = [
        _row(layout, reader, descriptor, name=reference.display, sizes=sizes[descriptor.digest], uses=uses)
        for reference, descriptor in named
    ]
    if tell is None:
        return listed
    return [
        row if row.broken else _with(row, tell(descriptor, row.quantization or None))
        for row, (_, descriptor) in zip(listed, named, strict=True)
    ]


def _with(row: ListedModel, told: _Told) -> ListedModel:
    return replace(row, optimized=told.optimized, hint=told.hint)


def reason_of(error: OutpostError) -> str:
    """What is wrong with a model, without its name, which stands beside it."""
    return str(error.fields.get("reason", error.message))


def _sizes(layout: Reading, descriptor: Descriptor) -> dict[Digest, int]:
    """All blobs that the name leads to, as far as known, its manifest too."""
    try:
        return {blob.digest: blob.size for blob in layout.closure(descriptor).values()}
    except OutpostError:
        return {descriptor.digest: descriptor.size}


def _row(
    layout: Reading,
    reader: ModelReader,
    descriptor: Descriptor,
    *,
    name: str,
    sizes: Mapping[Digest, int],
    uses: Mapping[Digest, int],
) -> ListedModel:
    row = ListedModel(
        name=name,
        digest=descriptor.digest,
        size_bytes=sum(sizes.values()),
        unique_bytes=sum(size for digest, size in sizes.items() if uses[digest] == 1),
        modified_s=_modified_s(layout, descriptor),
        broken=layout.broken(descriptor),
    )
    return row if row.broken else _described(reader, descriptor, row)


def _described(reader: ModelReader, descriptor: Descriptor, row: ListedModel) -> ListedModel:
    try:
        facts = reader.config(descriptor)
    except OutpostError as error:
        return replace(row, broken=reason_of(error))
    return replace(
        row,
        architecture=facts.architecture or "",
        parameters=facts.parameters or "",
        quantization=facts.quantization or "",
    )


def _modified_s(layout: Reading, descriptor: Descriptor) -> float:
    """Of names that other tools wrote: when the manifest came."""
    try:
        return datetime.fromisoformat(descriptor.annotations[CREATED]).timestamp()
    except (KeyError, ValueError, OverflowError):
        found = layout.blobs.status(descriptor.digest)
        return found.st_mtime if found else 0.0
