"""The invariants of a store that was cut off: recovered, then checked.

I1 the index reads, I3 every listed digest verifies, I4 nothing listed is missing, I6 every blob's name is its
hash, I7 no temporary file is left: `appliance.store.check`. I2 earlier models are intact, I5 what was
acknowledged is so, I8 recovery twice is recovery once, I9 no space is lost: here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ModelNotFound, OutpostError
from appliance.store.archive import TarSource
from appliance.store.check import check
from appliance.store.files import Files
from appliance.store.inspection import inspect
from appliance.store.layout import Layout
from appliance.store.manifest import parse_manifest
from appliance.store.rebuild import recover_index
from appliance.store.reference import parse_reference
from tests.crash.acts import ARCHIVE, LateClock, collect_late
from tests.crash.models import BLOB_BYTES
from tests.crash.promises import Promises, promises
from tests.crash.scenarios import Scenario
from tests.crash.trees import read_tree


class _Hurried(Files):
    """The judge is never cut off: it need not wait for the disk."""

    def fsync(self, descriptor: int) -> None:
        """Not done."""

    def fdatasync(self, descriptor: int) -> None:
        """Not done."""

    def fsync_dir(self, path: Path) -> None:
        """Not done."""


_ITS_OWN = frozenset(
    {"oci-layout", "index.json", "index.json.copy", "verified.json", "ballast", "lock", "blobs"}
    | {"blobs/sha256", "ingest", "quarantine", "quarantine/index.json.damaged", ARCHIVE}
)
"""What a store holds beside blobs and the reasons of those that are missing."""


def violations(
    root: Path,
    scenario: Scenario,
    said: Sequence[str],
    *,
    recovers_twice: bool = True,
    collects: bool = True,
) -> list[str]:
    """What is wrong with the store at `root` after recovery, in words. `collects`: I9 is judged too, by
    letting gc take all that it may; nothing is left to be resumed then.
    """
    found = _unrecovered(root) if scenario.is_carried else []
    promised = promises(scenario.before, said)
    try:
        with _recovered(root, scenario, promised) as layout:
            found += _kept(layout, scenario, promised)
        if recovers_twice:
            found += _second_recovery(root)
        found += [text for text in check(root) if not _may_be_broken(text, scenario, promised)]
        found += _large_parts(root)
        if collects:
            found += _wasted(root)
    except OutpostError as error:
        found.append(f"recovery failed: {error}")
    return found


def _unrecovered(root: Path) -> list[str]:
    """Of a stick that was pulled: what it lists is whole as it stands."""
    return [f"before recovery: {text}" for text in check(root) if text[:2] in {"I3", "I4", "I6"}]


def _recovered(root: Path, scenario: Scenario, promised: Promises) -> Layout:
    try:
        return Layout(root, files=_Hurried())
    except OutpostError:
        if not scenario.rescues or promised.acknowledged:
            raise
    recover_index(root, files=_Hurried())
    return Layout(root, files=_Hurried())


def _second_recovery(root: Path) -> list[str]:
    once = read_tree(root)
    Layout(root, files=_Hurried()).close()
    twice = read_tree(root)
    changed = sorted(name for name in once.keys() | twice.keys() if once.get(name) != twice.get(name))
    return [f"I8: a second recovery changed {', '.join(changed)}"] if changed else []


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Held:
    """What a name stands for. `digest` None: it is not there; `trouble` None: all below it is sound."""

    digest: str | None
    trouble: str | None = None


def _kept(layout: Layout, scenario: Scenario, promised: Promises) -> Iterator[str]:
    for name, allowed in promised.allowed.items():
        held = _held_in_archive(layout.root / ARCHIVE, name) if scenario.is_archive else _held(layout, name)
        if held.digest not in allowed:
            yield f"I2, I5: {name} stands for {held.digest}, it may for {sorted(map(str, allowed))}"
        elif held.trouble and not _is_broken(name, scenario, promised):
            yield f"I2, I5: {name} is there, but {held.trouble}"
    if not scenario.rescues:
        known = {parse_reference(name).key for name in promised.allowed}
        for reference, _ in layout.references():
            if reference.key not in known:
                yield f"I5: nobody asked for {reference.display}"


def _held(layout: Layout, name: str) -> _Held:
    try:
        descriptor = layout.find(parse_reference(name))
    except ModelNotFound:
        return _Held(None)
    try:
        manifest = parse_manifest(layout.fetch(descriptor), what=name)
        for blob in manifest.blobs:  # type: ignore[union-attr]  # scenarios have no index
            layout.path(blob.digest)
    except OutpostError as error:
        return _Held(descriptor.digest, error.message)
    return _Held(descriptor.digest)


def _held_in_archive(path: Path, name: str) -> _Held:
    """An archive that does not read as a whole holds nothing."""
    try:
        with TarSource(path, files=_Hurried()) as tar:
            digest = tar.resolve(parse_reference(name)).descriptor.digest
    except OutpostError as error:
        return _Held(None, error.message)
    problems = inspect(path, files=_Hurried()).problems
    return _Held(digest, ", ".join(problem.reason for problem in problems) or None)


def _is_broken(name: str, scenario: Scenario, promised: Promises) -> bool:
    return scenario.breaks is not None and scenario.breaks.name == name and name not in promised.acknowledged


def _may_be_broken(text: str, scenario: Scenario, promised: Promises) -> bool:
    """A damaged blob leaves the name, which says why it is broken; repair ends that."""
    broken = scenario.breaks
    if broken is None or not _is_broken(broken.name, scenario, promised):
        return False
    if text.startswith(("I3", "I4")):
        return broken.reference.name in text
    return text.startswith("I6") and any(digest in text for digest in broken.digests)


# ── space ────────────────────────────────────────────────────────────────────────────────────────────────


def _large_parts(root: Path) -> Iterator[str]:
    for part in (root / "ingest").glob("*.part"):
        if part.stat().st_size > BLOB_BYTES:
            yield f"I9: {part.name} is too large"


def _wasted(root: Path) -> Iterator[str]:
    """I9: when gc has run late, there is what names lead to, and nothing else."""
    clock = LateClock()
    with Layout(root, files=_Hurried(), monotonic=clock) as layout:
        collect_late(layout, clock)
        needed = {digest for entry in layout.entries() for digest in layout.closure(entry.descriptor)}
        places = {f"blobs/sha256/{digest.removeprefix('sha256:')}" for digest in needed}
        reasons = {f"quarantine/{digest.removeprefix('sha256:')}.json" for digest in needed}
    for name in sorted(read_tree(root).keys() - places - reasons - _ITS_OWN):
        yield f"I9: nobody needs {name}"
