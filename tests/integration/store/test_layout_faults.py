"""Every operation of the store on the disk fails once: as an error, as a full disk, and as the death of the
process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from appliance.errors import OutpostError, StoreFault
from appliance.store.archive import TarSource, TarTarget
from appliance.store.check import check, tree
from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.gc import collect
from appliance.store.layout import Layout
from appliance.store.rebuild import recover_index
from appliance.store.reference import Reference, parse_reference
from appliance.store.scrub import Scrubber, verify
from tests.fakes.fake_models import FakeSource, blob_of, store_model
from tests.fakes.faulty_files import Death, FaultyFiles

_MEANT: Final = "quarantined by the test"
_EARLIER: Final = parse_reference("earlier")
_GGUF: Final = bytes(range(256)) * 20


def _first_import(root: Path, files: Files, done: list[Reference]) -> None:
    with Layout(root, files=files) as layout:
        store_model(layout, "tiny", b"weights", b"shared")
        done.append(parse_reference("tiny"))


def _resume(root: Path, files: Files, done: list[Reference]) -> None:
    source = FakeSource(fail_after=4000)
    resolved = source.add_model("tiny", _GGUF * 2)
    with Layout(root, files=files) as layout:
        for _ in range(2):
            with suppress(StoreFault):
                for content in source.contents.values():
                    layout.take(blob_of(content), source, unreported)
        layout.publish(parse_reference("tiny"), resolved)
        done.append(parse_reference("tiny"))


def _replace_and_collect(root: Path, files: Files, done: list[Reference]) -> None:
    with Layout(root, files=files) as layout:
        store_model(layout, "tiny", b"first")
        store_model(layout, "tiny", b"second")
        done.append(parse_reference("tiny"))
        collect(layout)


def _remove(root: Path, files: Files, done: list[Reference]) -> None:
    with Layout(root, files=files) as layout:
        store_model(layout, "tiny", b"first")
        layout.untag(parse_reference("tiny"))
        collect(layout)


def _quarantine_and_repair(root: Path, files: Files, done: list[Reference]) -> None:
    with Layout(root, files=files) as layout:
        store_model(layout, "tiny", b"weights")
        layout.quarantine(blob_of(b"weights").digest, _MEANT)
        store_model(layout, "tiny", b"weights")
        done.append(parse_reference("tiny"))
        Scrubber(layout).step(1 << 20)


def _adopt(root: Path, files: Files, done: list[Reference]) -> None:
    with Layout(root, files=files) as layout:
        for link in (False, True):
            path = root.parent / f"model-{link}"
            path.unlink(missing_ok=True)
            path.write_bytes(_GGUF + bytes([link]))
            layout.adopt(path, link=link)


_SCENARIOS: Final = [_first_import, _resume, _replace_and_collect, _remove, _quarantine_and_repair, _adopt]
_Scenario = Callable[[Path, Files, list[Reference]], None]


@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize("kind", ["error", "full", "death"])
def test_a_failure_at_any_operation_is_typed_and_loses_nothing(
    tmp_path: Path, scenario: _Scenario, kind: str
) -> None:
    with Layout(tmp_path / "prepared", files=FaultyFiles()) as layout:
        earlier = store_model(layout, "earlier", b"an earlier model", b"shared")
    failed_at = 0
    finished = False
    while not finished:
        failed_at += 1
        root = tmp_path / str(failed_at) / "store"
        shutil.copytree(tmp_path / "prepared", root)
        done: list[Reference] = []
        files = FaultyFiles(fails_at=failed_at, full=kind == "full", dies=kind == "death")
        with suppress(OutpostError, Death):
            scenario(root, files, done)
        finished = files.operations < failed_at

        with Layout(root, files=FaultyFiles()) as layout:
            verify(layout, None)
            listed = {reference.key: top.digest for reference, top in layout.references()}
            for reference in done:
                layout.lookup(reference)
        assert listed[_EARLIER.key] == earlier.descriptor.digest
        assert [found for found in check(root) if _MEANT not in found] == [], failed_at
        once = tree(root)
        Layout(root, files=FaultyFiles()).close()
        assert tree(root) == once, failed_at

    assert failed_at > 20


@pytest.mark.parametrize("kind", ["error", "full", "death"])
def test_an_archive_is_whole_or_not_there_whatever_fails(tmp_path: Path, kind: str) -> None:
    source = FakeSource()
    resolved = source.add_model("tiny", b"weights")
    finished = False
    failed_at = 0
    while not finished:
        failed_at += 1
        path = tmp_path / f"{failed_at}.tar"
        files = FaultyFiles(fails_at=failed_at, full=kind == "full", dies=kind == "death")
        with suppress(OutpostError, Death), TarTarget(path, files=files) as target:
            target.take(blob_of(b"weights"), source, unreported)
            target.take(blob_of(b"{}"), source, unreported)
            target.publish(parse_reference("tiny"), resolved)
        finished = files.operations < failed_at
        if path.exists():
            with TarSource(path, files=Files()) as archive:
                assert archive.resolve(parse_reference("tiny")) == resolved
                assert archive.fetch(blob_of(b"weights")) == b"weights"


def test_building_the_names_again_can_be_interrupted_and_repeated(tmp_path: Path) -> None:
    finished = False
    failed_at = 0
    while not finished:
        failed_at += 1
        root = tmp_path / str(failed_at)
        with Layout(root, files=FaultyFiles()) as layout:
            store_model(layout, "tiny", b"weights")
            store_model(layout, "other", b"more")
        (root / "index.json").write_bytes(os.urandom(100))
        files = FaultyFiles(fails_at=failed_at, dies=True)
        with suppress(Death):
            recover_index(root, files=files)
        finished = files.operations < failed_at

        assert len(recover_index(root, files=Files())) == 2
        assert check(root) == []
