"""The store among processes: one at a time, killed at any point, on a small disk, in little memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from appliance.errors import InsufficientSpace, StoreInUse
from appliance.store.check import check
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor
from appliance.store.files import Files
from appliance.store.gc import collect
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import FakeSource, blob_of, store_model

_ROUNDS: Final = 12
_SMALL_DISK_BYTES: Final = 64 << 20

_ADOPT = """
import sys
from pathlib import Path
from appliance.store.files import Files
from appliance.store.layout import Layout
with Layout(Path(sys.argv[1]), files=Files()) as layout:
    print("open", flush=True)
    print(layout.adopt(Path(sys.argv[2])).digest, flush=True)
"""

_TAKE = """
import sys
from pathlib import Path
from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
name = parse_reference("tiny")
source = Layout(Path(sys.argv[2]), files=Files(), read_only=True)
with Layout(Path(sys.argv[1]), files=Files()) as layout:
    print("open", flush=True)
    resolved = source.resolve(name)
    for digest, blob in source.closure(resolved.descriptor).items():
        if digest != resolved.descriptor.digest:
            layout.take(blob, source, unreported)
    layout.publish(name, resolved)
    print("published", flush=True)
"""

_PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def _start(program: str, *arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _end(process: subprocess.Popen[str], sign: signal.Signals | None = None) -> str:
    if sign is not None:
        process.send_signal(sign)
    return process.communicate(timeout=30)[0]


def test_a_store_that_another_process_has_is_in_use_until_that_dies(tmp_path: Path) -> None:
    waits = "import signal\n" + _ADOPT.replace("print(layout.adopt", "signal.pause(); print(layout.adopt")
    process = _start(waits, tmp_path / "s", tmp_path)
    try:
        assert _first_line(process) == "open"
        with pytest.raises(StoreInUse):
            Layout(tmp_path / "s", files=Files())
    finally:
        _end(process, signal.SIGKILL)

    Layout(tmp_path / "s", files=Files()).close()


def test_a_copy_killed_at_random_points_ends_whole_and_lists_nothing_before(tmp_path: Path) -> None:
    weights = random.Random(7).randbytes(40 << 20)
    with Layout(tmp_path / "stick", files=Files(), portable=True) as stick:
        resolved = store_model(stick, "tiny", weights)
    with Layout(tmp_path / "s", files=Files()) as layout:
        store_model(layout, "earlier", b"an earlier model")
    listed = {"registry.ollama.ai/library/earlier:latest"}
    chance = random.Random(11)

    for _ in range(_ROUNDS):
        process = _start(_TAKE, tmp_path / "s", tmp_path / "stick")
        assert _first_line(process) == "open"
        time.sleep(chance.random() * 0.15)
        if "published" in _end(process, signal.SIGKILL):
            listed.add("registry.ollama.ai/library/tiny:latest")
        with Layout(tmp_path / "s", files=Files()) as layout:
            names = {reference.name for reference, _ in layout.references()}
        assert listed <= names
        assert check(tmp_path / "s") == []

    assert _end(_start(_TAKE, tmp_path / "s", tmp_path / "stick")) == "open\npublished\n"
    expected = [(parse_reference("tiny").key, resolved.descriptor.digest)]
    assert check(tmp_path / "s", expected=expected) == []
    assert list((tmp_path / "s" / "ingest").iterdir()) == []


def test_an_import_killed_at_random_points_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(random.Random(7).randbytes(40 << 20))
    chance = random.Random(13)

    for _ in range(_ROUNDS // 2):
        process = _start(_ADOPT, tmp_path / "s", tmp_path / "m.gguf")
        assert _first_line(process) == "open"
        time.sleep(chance.random() * 0.15)
        _end(process, signal.SIGKILL)
        Layout(tmp_path / "s", files=Files()).close()
        assert check(tmp_path / "s") == []
        assert list((tmp_path / "s" / "ingest").iterdir()) == []


def test_memory_is_flat_whatever_the_size(tmp_path: Path) -> None:
    with (tmp_path / "m.gguf").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 400 << 20)
        file.write(b"not a hole")

    lines = _end(_start(_ADOPT + _PEAK, tmp_path / "s", tmp_path / "m.gguf")).split()

    assert int(lines[-1]) < 50 << 10


# ── a small disk ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """64 MiB that end. Mounting needs root; who is not root has it from a shell that is."""
    if os.geteuid() != 0:
        pytest.fail("mounting a small disk needs root: run this layer of the tests as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK_BYTES}", "outpost-test", str(disk)], check=True
    )
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_model_that_does_not_fit_is_refused_before_its_first_byte(small_disk: Path) -> None:
    source = FakeSource()
    blob = Descriptor(media_type="x", digest=blob_of(b"too large").digest, size=_SMALL_DISK_BYTES - (1 << 20))
    with Layout(small_disk / "s", files=Files()) as layout:
        before = os.statvfs(small_disk).f_bfree
        with pytest.raises(InsufficientSpace) as raised:
            layout.take(blob, source, unreported)
        with pytest.raises(InsufficientSpace), layout.expect([blob]):
            pass
        assert os.statvfs(small_disk).f_bfree == before

    assert raised.value.fields["needed_bytes"] == blob.size
    assert raised.value.fields["floor_bytes"] == int(_SMALL_DISK_BYTES * 0.05)
    assert source.served == []
    assert check(small_disk / "s") == []


def test_a_disk_that_others_fill_meanwhile_refuses_and_works_again_when_there_is_room(
    small_disk: Path,
) -> None:
    """Without a floor, so that the disk itself refuses, not our own count."""
    source = FakeSource(chunk=1 << 20)
    resolved = source.add_model("tiny", bytes(range(256)) * (40 << 12))
    with Layout(small_disk / "s", files=Files(), floor_fraction=0) as layout:
        store_model(layout, "earlier", b"an earlier model")
        (small_disk / "filler").write_bytes(bytes(30 << 20))
        blobs = [blob_of(content) for content in source.contents.values() if content != resolved.content]
        with pytest.raises(InsufficientSpace):
            _take_all(layout, blobs, source)
        (small_disk / "filler").unlink()
        _take_all(layout, blobs, source)
        layout.publish(parse_reference("tiny"), resolved)

    assert check(small_disk / "s", expected=[(parse_reference("tiny").key, resolved.descriptor.digest)]) == []


def test_models_can_be_removed_from_a_disk_that_is_full(small_disk: Path) -> None:
    with Layout(small_disk / "s", files=Files(), floor_fraction=0) as layout:
        store_model(layout, "tiny", bytes(range(256)) * (40 << 12))
    _fill(small_disk / "filler")

    with Layout(small_disk / "s", files=Files(), floor_fraction=0) as layout:
        assert os.statvfs(small_disk).f_bfree == 0
        with pytest.raises(InsufficientSpace):
            store_model(layout, "other", b"no room for this")
        layout.untag(parse_reference("tiny"))
        report = collect(layout)
        store_model(layout, "other", b"room for this")

    assert report.freed_bytes >= 40 << 20
    assert check(small_disk / "s") == []


def _fill(path: Path) -> None:
    """To the last block."""
    with path.open("wb", buffering=0) as filler:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while filler.write(bytes(size)) == size:
                    pass


def _take_all(layout: Layout, blobs: list[Descriptor], source: FakeSource) -> None:
    for blob in blobs:
        layout.take(blob, source, unreported)
