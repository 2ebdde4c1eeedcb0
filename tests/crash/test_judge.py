"""The judge itself: what must be told is told, what is right passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import ModelNotFound
from appliance.store.files import Files
from appliance.store.layout import Layout
from tests.crash.acts import ARCHIVE, FIRST, REPLACED, SECOND
from tests.crash.call_points import Point, concerns, read_points, was_hit
from tests.crash.judge import violations
from tests.crash.models import blob
from tests.crash.promises import promises
from tests.crash.scenarios import SCENARIOS, prepare

pytestmark = pytest.mark.crash

REPLACE = SCENARIOS["replace tag"]
TRY = f"TRY {FIRST.name} {REPLACED.digest}"


def _store(memory: Path) -> Path:
    root = memory / "store"
    prepare(root, REPLACE)
    return root


def test_while_a_name_changes_it_is_the_old_or_the_new_one(memory: Path) -> None:
    root = _store(memory)
    assert violations(root, REPLACE, [TRY]) == []

    with Layout(root, files=Files()) as layout:
        REPLACED.arrive(layout)
    assert violations(root, REPLACE, [TRY]) == []

    with Layout(root, files=Files()) as layout:
        layout.untag(FIRST.reference)
    assert violations(root, REPLACE, [TRY])[0].startswith(f"I2, I5: {FIRST.name} stands for None")


def test_what_was_not_tried_may_not_change(memory: Path) -> None:
    root = _store(memory)
    with Layout(root, files=Files()) as layout:
        REPLACED.arrive(layout)

    assert violations(root, REPLACE, []) != []


def test_a_name_that_nobody_asked_for_is_told(memory: Path) -> None:
    root = _store(memory)

    found = violations(root, SCENARIOS["second import sharing blobs"], [])

    assert found == [f"I5: nobody asked for {SECOND.reference.display}"]


def test_an_orphan_that_gc_cannot_take_is_lost_space(memory: Path) -> None:
    root = _store(memory)
    (root / "ingest" / "forgotten").write_bytes(bytes(100))

    assert "I9: nobody needs ingest/forgotten" in violations(root, REPLACE, [])


def test_orphans_are_gone_when_gc_has_run(memory: Path) -> None:
    root = _store(memory)
    with Layout(root, files=Files()) as layout:
        orphan = layout.put(b"no name leads here", "text/plain")

    assert violations(root, REPLACE, []) == []

    with Layout(root, files=Files()) as layout, pytest.raises(ModelNotFound):
        layout.path(orphan.digest)


def test_promises_add_up() -> None:
    said = ["TRY a:1 sha256:1", "HAVE a:1 sha256:1", "TRY a:1 -"]
    assert promises([], said[:1]).allowed == {"a:1": {None, "sha256:1"}}
    assert promises([], said[:2]).allowed == {"a:1": {"sha256:1"}}
    assert promises([], said).allowed == {"a:1": {"sha256:1", None}}
    assert promises([], [*said, "GONE a:1"]).allowed == {"a:1": {None}}


def test_points_are_counted_over_all_calls_and_kept_below_the_root(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '7  openat(AT_FDCWD</w>, "/etc/hosts", O_RDONLY) = 3</etc/hosts>\n'
        '7  openat(AT_FDCWD</w>, "/s/store/lock", O_RDWR) = 3</s/store/lock>\n'
        "7  fsync(4</s/store>) = 0\n"
        '7  openat(AT_FDCWD</w>, "/s/storefront", O_RDONLY) = -1 ENOENT (No such file)\n'
        "7  +++ exited with 0 +++\n"
    )

    assert read_points(log, "/s/store") == [Point("openat", 2, only_looks=True), Point("fsync", 1)]


def test_a_hit_elsewhere_is_no_hit(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '7  openat(AT_FDCWD</w>, "/etc/hosts", O_RDONLY) = -1 EIO (Input/output error) (INJECTED)\n'
    )

    assert not was_hit(log, "/s/store", by="EIO")
    assert concerns("fsync(4</s/store>)", "/s/store")


def test_an_archive_is_the_old_or_the_new_one_and_whole(memory: Path) -> None:
    scenario, root = SCENARIOS["export to a tar"], memory / "store"
    prepare(root, scenario)
    said = [f"HAVE {FIRST.name} {FIRST.digest}"]
    assert violations(root, scenario, said) == []
    content = (root / ARCHIVE).read_bytes()

    (root / ARCHIVE).write_bytes(content[: len(content) // 2])
    assert violations(root, scenario, said)[0].startswith(f"I2, I5: {FIRST.name} stands for None")
    (root / ARCHIVE).write_bytes(content.replace(blob(1)[:512], bytes(512)))
    assert "first:latest is there, but" in violations(root, scenario, said)[0]
