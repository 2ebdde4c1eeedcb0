"""Room that is kept before the first byte: of copies by their digests, of other work by its count."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import InsufficientSpace
from appliance.store.descriptor import Descriptor
from appliance.store.digest import digest_of
from appliance.store.layout import Layout
from appliance.store.space import SLACK_BYTES
from tests.fakes.fake_models import blob_of, store_model
from tests.fakes.small_disk import SmallDisk
from tests.unit.store.layout_desk import blob_path

MIB = 1 << 20


@pytest.fixture
def space(layout: Layout) -> SmallDisk:
    """That of the layout."""
    layout.space = disk = SmallDisk(layout.places, 0.0)
    disk.free = 100 * MIB + SLACK_BYTES
    return disk


def coming(name: bytes, size: int) -> Descriptor:
    return Descriptor(media_type="x", digest=digest_of(name), size=size)


def test_what_a_room_asks_for_is_not_there_for_others(space: SmallDisk) -> None:
    with space.room() as room, space.room() as other:
        room.require(70 * MIB)
        with pytest.raises(InsufficientSpace):
            other.require(40 * MIB)
        with pytest.raises(InsufficientSpace), space.expect([coming(b"a", 40 * MIB)]):
            pass
        room.require(60 * MIB)
        other.require(40 * MIB)
    with space.expect([coming(b"a", 100 * MIB)]):
        pass


def test_a_room_gives_back_what_has_its_blocks_and_never_takes_by_that(space: SmallDisk) -> None:
    with space.room() as room, space.room() as other:
        room.require(100 * MIB)
        room.keep(30 * MIB)
        room.keep(50 * MIB)
        other.require(70 * MIB)
        with pytest.raises(InsufficientSpace):
            other.require(71 * MIB)
        room.keep(-5)
        other.require(100 * MIB)


def test_a_refused_room_keeps_what_it_had(space: SmallDisk) -> None:
    with space.room() as room, space.room() as other:
        room.require(60 * MIB)
        with pytest.raises(InsufficientSpace):
            room.require(101 * MIB)
        with pytest.raises(InsufficientSpace):
            other.require(41 * MIB)


def test_a_copy_beside_a_room_finds_only_what_is_left(space: SmallDisk, layout: Layout) -> None:
    with layout.space.room() as room:
        room.require(90 * MIB)
        with pytest.raises(InsufficientSpace) as raised, layout.expect([coming(b"a", 20 * MIB)]):
            pass
    assert raised.value.fields["available_bytes"] == 10 * MIB + SLACK_BYTES


@pytest.mark.parametrize("damage", ["truncated", "zeroed"])
def test_a_blob_that_is_there_but_not_sound_needs_its_room_again(
    layout: Layout, space: SmallDisk, damage: str
) -> None:
    """It comes anew: that must be known before the first byte."""
    weights = b"w" * (10 * MIB)
    store_model(layout, "tiny", weights)
    space.free = 5 * MIB
    with layout.expect([blob_of(weights)]):
        pass
    path = blob_path(layout, weights)
    path.chmod(0o644)
    path.write_bytes(b"w" * MIB if damage == "truncated" else bytes(10 * MIB))

    with pytest.raises(InsufficientSpace), layout.expect([blob_of(weights)]):
        pass


def test_a_part_of_another_size_is_not_what_is_expected(layout: Layout, space: SmallDisk) -> None:
    arriving = coming(b"a", 60 * MIB)
    layout.places.part(arriving.digest).write_bytes(bytes(10))
    layout.places.part_state(arriving.digest).write_bytes(b'{"size": 10, "durable": []}')
    with space.expect([arriving]), pytest.raises(InsufficientSpace):
        space.require(50 * MIB)


def _files(directory: Path, count: int) -> list[Path]:
    paths = [directory / f"{number}.gguf" for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode() * MIB)
    return paths


def test_a_file_is_copied_only_with_room_for_those_that_follow(
    layout: Layout, space: SmallDisk, tmp_path: Path
) -> None:
    (path,) = _files(tmp_path, 1)
    size = path.stat().st_size

    with layout.space.room() as room, pytest.raises(InsufficientSpace) as raised:
        layout.adopt(path, room=room, later_bytes=100 * MIB)

    assert raised.value.fields["needed_bytes"] == size + 100 * MIB
    assert list(layout.places.ingest.iterdir()) == []
    with layout.space.room() as room, layout.space.room() as other:
        layout.adopt(path, room=room, later_bytes=80 * MIB)
        with pytest.raises(InsufficientSpace):
            other.require(21 * MIB)
        other.require(20 * MIB)


def test_a_file_that_is_linked_needs_no_room_however_much_follows(
    layout: Layout, space: SmallDisk, tmp_path: Path
) -> None:
    (path,) = _files(tmp_path, 1)
    space.free = 0

    with layout.space.room() as room:
        blob = layout.adopt(path, link=True, room=room, later_bytes=1 << 40)

    assert layout.path(blob.digest).samefile(path)
