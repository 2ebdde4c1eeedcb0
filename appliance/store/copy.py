"""The one verb that moves content: from any source to any target.

    resolve ─► (an index: choose) ─► what is missing? ─► reserve ─► take each blob ─► admit ─► publish

The name comes last: until then a target holds blobs that nobody sees. Whatever fails on the way leaves
them, and what is arriving, for the next try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from appliance.errors import ManifestInvalid
from appliance.store.content import (
    PULLING,
    Progress,
    Report,
    Source,
    Target,
    Words,
    moving,
    unreported,
    worded,
)
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest, Resolved
from appliance.store.manifest import parse_manifest
from appliance.store.model_config import Fetch
from appliance.store.reference import Reference
from appliance.store.variants import MAX_VARIANTS

Choose = Callable[[ImageIndex, Fetch], Descriptor]
"""Which of an index's variants is copied: see `variants`. Raises InsufficientMemory, ManifestInvalid."""

Foresee = Callable[[Manifest, Source], None]
"""Looks at a manifest before any of its blobs comes, and at as much of them as it asks the source for. Raises
what speaks against having it.
"""

Admit = Callable[[Manifest], None]
"""Looks at a manifest whose blobs are all in the target. Raises ModelInvalid: then it gets no name."""


def copy(  # noqa: PLR0913 - what may be decided on the way, each by its name
    source: Source,
    reference: Reference,
    target: Target,
    *,
    as_reference: Reference | None = None,
    report: Report = unreported,
    choose: Choose | None = None,
    foresee: Foresee | None = None,
    admit: Admit | None = None,
    words: Words = PULLING,
) -> Resolved:
    """What was published as `as_reference` (or `reference`). Without `choose` all of an index is copied.
    `words`: how the verb that copies is told.

    Raises what source and target raise (`content.py`), and what the callbacks raise.
    """
    report(Progress(status=words.first))
    wanted = _wanted(source, reference, choose)
    if foresee is not None:
        for manifest in wanted.manifests:
            foresee(manifest, source)
    with target.expect(wanted.all) if isinstance(target, Keeper) else nullcontext():
        _bring(wanted, source, target, worded(report, words))
        if admit is not None:
            report(Progress(status="verifying sha256 digest"))
            for manifest in wanted.manifests:
                admit(manifest)
        report(Progress(status=words.last))
        target.publish(as_reference or reference, wanted.resolved)
    return wanted.resolved


@runtime_checkable
class Keeper(Protocol):
    """A target that others fill and clean at the same time: `Layout`. It is not asked to `reserve`."""

    def expect(self, blobs: Sequence[Descriptor]) -> AbstractContextManager[None]:
        """While it lasts, room for these is kept and none of them is collected. Raises InsufficientSpace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    resolved: Resolved
    """What the name will stand for."""
    manifests: tuple[Manifest, ...]
    entries: tuple[Descriptor, ...] = ()
    """Of an index that is copied whole: its manifests are blobs too."""

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Each digest once; large ones last, so that what is small and wrong is known early."""
        blobs = {blob.digest: blob for manifest in self.manifests for blob in manifest.blobs}
        return tuple(sorted(blobs.values(), key=lambda blob: blob.size))

    @property
    def all(self) -> tuple[Descriptor, ...]:
        return (*self.blobs, *self.entries)


def _wanted(source: Source, reference: Reference, choose: Choose | None) -> _Wanted:
    resolved = source.resolve(reference)
    what = f"the manifest of {reference.name}"
    parsed = parse_manifest(resolved.content, what=what)
    if isinstance(parsed, Manifest):
        return _Wanted(resolved=resolved, manifests=(parsed,))
    if choose is None:
        manifests = tuple(_manifest(source.fetch(entry), what=what) for entry in _entries(parsed, what=what))
        return _Wanted(resolved=resolved, manifests=manifests, entries=parsed.manifests)
    chosen = choose(parsed, source.fetch)
    content = source.fetch(chosen)
    return _Wanted(
        resolved=Resolved(descriptor=chosen, content=content), manifests=(_manifest(content, what=what),)
    )


def _entries(index: ImageIndex, *, what: str) -> tuple[Descriptor, ...]:
    if not 0 < len(index.manifests) <= MAX_VARIANTS:
        raise ManifestInvalid(
            what=what, reason=f"{len(index.manifests)} variants where 1 to {MAX_VARIANTS} can be"
        )
    return index.manifests


def _manifest(content: bytes, *, what: str) -> Manifest:
    parsed = parse_manifest(content, what=what)
    if not isinstance(parsed, Manifest):
        raise ManifestInvalid(what=what, reason="an index inside an index: variants are one level")
    return parsed


def _bring(wanted: _Wanted, source: Source, target: Target, report: Report) -> None:
    """Space first, then blobs, then the manifests that name them."""
    missing = []
    for blob in wanted.blobs:
        if target.has(blob):
            report(moving(blob, blob.size))  # as Ollama tells a layer that need not come
        else:
            missing.append(blob)
    entries = [entry for entry in wanted.entries if not target.has(entry)]
    if not isinstance(target, Keeper):
        target.reserve(sum(blob.size for blob in (*missing, *entries)))
    for blob in (*missing, *entries):
        target.take(blob, source, report)
