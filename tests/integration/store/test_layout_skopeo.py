"""The layout is at home in the OCI world: skopeo reads what we write, and we read what skopeo writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from appliance.store.archive import TarSource, TarTarget
from appliance.store.check import check
from appliance.store.content import unreported
from appliance.store.copy import copy
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import store_model

_NAME: Final = parse_reference("tiny")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Layout(tmp_path / "store", files=Files()) as layout:
        store_model(layout, "tiny", b"weights", b"more weights")
    return tmp_path / "store"


def _skopeo(*arguments: str) -> bytes:
    program = shutil.which("skopeo")
    assert program, "skopeo is missing: apt-get install skopeo"
    return subprocess.run([program, *arguments], check=True, capture_output=True, timeout=30).stdout


def test_skopeo_reads_the_store_as_it_is(store: Path) -> None:
    manifest = _skopeo("inspect", "--raw", f"oci:{store}:{_NAME.name}")

    with Layout(store, files=Files()) as layout:
        assert digest_of(manifest) == layout.lookup(_NAME).digest


def test_a_layout_that_skopeo_wrote_is_taken_over(store: Path, tmp_path: Path) -> None:
    _skopeo("copy", f"oci:{store}:{_NAME.name}", f"oci:{tmp_path}/written:{_NAME.name}")

    with Layout(tmp_path / "second", files=Files()) as layout:
        source = Layout(tmp_path / "written", files=Files(), read_only=True)
        copied = copy(source, _NAME, layout, report=unreported)

    expected = [(_NAME.key, copied.descriptor.digest)]
    assert check(store, expected=expected) == check(tmp_path / "second", expected=expected) == []


def test_archives_go_both_ways(store: Path, tmp_path: Path) -> None:
    with Layout(store, files=Files()) as layout, TarTarget(tmp_path / "ours.tar", files=Files()) as target:
        written = copy(layout, _NAME, target, report=unreported)
    _skopeo(
        "copy",
        f"oci-archive:{tmp_path}/ours.tar:{_NAME.name}",
        f"oci-archive:{tmp_path}/theirs.tar:{_NAME.name}",
    )

    with TarSource(tmp_path / "theirs.tar", files=Files()) as source:
        assert source.resolve(_NAME) == written
        with Layout(tmp_path / "second", files=Files()) as layout:
            copy(source, _NAME, layout, report=unreported)

    assert check(tmp_path / "second", expected=[(_NAME.key, written.descriptor.digest)]) == []
