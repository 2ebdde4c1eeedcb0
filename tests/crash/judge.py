"""The invariants of a store that was cut off: recovered, then checked.

I1 the index reads, I3 every listed digest verifies, I4 nothing listed is missing, I6 every blob's name is its
hash, I7 no temporary file is left: `appliance.store.check`. I2 earlier models are intact, I5 an acknowledged
import is there, I8 recovery twice is recovery once, I9 no space is lost: here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import OutpostError
from appliance.store.check import check
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.manifest import parse_manifest
from appliance.store.reference import parse_reference
from tests.crash.disk_model import Tree
from tests.crash.models import BLOB_BYTES, Model
from tests.crash.scenarios import Scenario

_MOST_SMALL_BYTES = 64_000
"""Index, markers, manifests and configs of a scenario together."""


def violations(
    root: Path, scenario: Scenario, said: Sequence[str], *, recovers_twice: bool = True
) -> list[str]:
    """What is wrong with the store at `root` after recovery, in words."""
    try:
        with contextlib.closing(Layout(root, files=Files())) as layout:
            found = _promises(layout, scenario.before, said)
        if recovers_twice:
            found += _second_recovery(root)
    except OutpostError as error:
        return [f"recovery failed: {error}"]
    found += [text for text in check(root) if not _may_be_broken(text, scenario, said)]
    return [*found, *_space(root)]


def _second_recovery(root: Path) -> list[str]:
    once = read_tree(root)
    with contextlib.closing(Layout(root, files=Files())):
        pass
    twice = read_tree(root)
    changed = sorted(name for name in once.keys() | twice.keys() if once.get(name) != twice.get(name))
    return [f"I8: a second recovery changed {', '.join(changed)}"] if changed else []


def _may_be_broken(text: str, scenario: Scenario, said: Sequence[str]) -> bool:
    """Quarantine leaves the name and says why it is broken; repair ends that."""
    broken = scenario.breaks
    if broken is None or any(line.startswith(f"HAVE {broken.name}") for line in said):
        return False
    return text.startswith("I4") and broken.reference.name in text


def read_tree(root: Path) -> Tree:
    found: Tree = {}
    for folder, directories, files in os.walk(root):
        for name in directories:
            found[str((Path(folder) / name).relative_to(root))] = None
        for name in files:
            path = Path(folder) / name
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def write_tree(root: Path, tree: Tree, *, base: str) -> None:
    for path, content in tree.items():
        place = root / os.path.relpath(path, base)
        if content is None:
            place.mkdir(exist_ok=True, parents=True)
        else:
            place.parent.mkdir(exist_ok=True, parents=True)
            place.write_bytes(content)


def _promises(layout: Layout, before: Sequence[Model], said: Sequence[str]) -> list[str]:
    expected: dict[str, tuple[int, ...] | None] = {model.name: model.layers for model in before}
    for line in said:
        word, name, *rest = line.split()
        if word == "TRY":
            expected.pop(name, None)
        elif word == "HAVE":
            expected[name] = tuple(map(int, rest[0].split(",")))
        else:
            expected[name] = None
    found = []
    for name, layers in expected.items():
        held = _layers(layout, name)
        if layers is None and held is not None:
            found.append(f"I5: {name} was removed, and is there")
        elif layers is not None and held != Model(name=name, layers=layers).manifest.descriptor.digest:
            found.append(f"I2, I5: {name} should be there with {layers}: {held}")
    return found


def _layers(layout: Layout, name: str) -> str | None:
    """The digest of a model's manifest, when it and all of its blobs are sound."""
    reference = parse_reference(name)
    try:
        descriptor = layout.lookup(reference)
        manifest = parse_manifest(layout.fetch(descriptor), what=name)
        for blob in manifest.blobs:  # type: ignore[union-attr]  # scenarios have no index
            layout.path(blob.digest)
    except OutpostError:
        return None
    return descriptor.digest


def _space(root: Path) -> list[str]:
    """I9: what is not a whole blob is at most what may still be resumed."""
    loose = sum(
        path.stat().st_size
        for path in root.rglob("*")
        if path.is_file()
        and path.parent.name != "sha256"
        and path.suffix != ".part"
        and path.name != "ballast"
    )
    parts = list((root / "ingest").glob("*.part"))
    found = [f"I9: {loose} bytes beside the blobs"] if loose > _MOST_SMALL_BYTES + BLOB_BYTES else []
    return [*found, *(f"I9: {part.name} is too large" for part in parts if part.stat().st_size > BLOB_BYTES)]
