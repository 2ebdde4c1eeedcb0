"""Files: whole or refused, bounded, and never anything but plain files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.engine.hibernation.shelf import NoRoom, WriteGivenUp
from appliance.engine.hibernation.snapshot import Sealer, SnapshotInvalid, fingerprint_of
from tests.fakes.hibernation import KEY, head_of, never, shelf_in, state_of

HEAD = head_of(list(range(1, 11)), state_bytes=100)
STATE = state_of(100)


def always() -> bool:
    return True


def written(directory: Path) -> str:
    return shelf_in(directory).write(HEAD, STATE, goes_on=always, sync=never)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    name = written(tmp_path)
    assert shelf_in(tmp_path).read_in().heads == [(name, HEAD)]
    assert shelf_in(tmp_path).read(name, HEAD).tolist() == STATE.tolist()


def test_there_is_room_before_it_where_it_is_wanted(tmp_path: Path) -> None:
    found = shelf_in(tmp_path).read(written(tmp_path), HEAD, room_before=12)
    assert found[12:].tolist() == STATE.tolist()
    assert found.size == 112


def test_a_snapshot_is_its_owners_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    name = written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    status = (tmp_path / name).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == HEAD.file_bytes == 160 + 40 + 100 + 32


def test_a_snapshot_that_is_written_again_is_one(tmp_path: Path) -> None:
    assert written(tmp_path) == written(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(where=st.integers(0, 331), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_file_is_refused(tmp_path: Path, where: int, bit: int) -> None:
    path = tmp_path / written(tmp_path)
    content = bytearray(path.read_bytes())
    content[where] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(SnapshotInvalid):
        shelf_in(tmp_path).read(path.name, HEAD)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, 331))
def test_a_file_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / written(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SnapshotInvalid):
        shelf_in(tmp_path).read(path.name, HEAD)


@pytest.mark.parametrize("tail", [b"\0", b"x" * 5000])
def test_a_file_with_more_behind_it_is_refused(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / written(tmp_path)
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(SnapshotInvalid, match="another size"):
        shelf_in(tmp_path).read(path.name, HEAD)
    assert shelf_in(tmp_path).read_in().refused == 1


def test_the_state_of_one_snapshot_behind_the_head_of_another_is_refused(tmp_path: Path) -> None:
    other = head_of(list(range(2, 12)), state_bytes=100)
    shelf = shelf_in(tmp_path)
    one, two = written(tmp_path), shelf.write(other, STATE, goes_on=always, sync=never)
    head = (tmp_path / two).read_bytes()[:200]
    (tmp_path / two).write_bytes(head + (tmp_path / one).read_bytes()[200:])
    with pytest.raises(SnapshotInvalid, match="seal of its state"):
        shelf.read(two, other)


def test_what_is_no_snapshot_is_removed_and_counted_when_the_directory_is_read_in(tmp_path: Path) -> None:
    good = written(tmp_path)
    (tmp_path / "renamed.kv").write_bytes((tmp_path / good).read_bytes())
    (tmp_path / "empty.kv").write_bytes(b"")
    (tmp_path / "noise.kv").write_bytes(os.urandom(5000))
    listing = shelf_in(tmp_path).read_in()
    assert [name for name, _ in listing.heads] == [good]
    assert listing.refused == 3
    assert [path.name for path in tmp_path.iterdir()] == [good]


def test_a_snapshot_of_another_build_is_left_for_that_build(tmp_path: Path) -> None:
    name = written(tmp_path)
    other = shelf_in(tmp_path, fingerprint=fingerprint_of({"model": "fake", "llama_cpp": "2"}))
    listing = other.read_in()
    assert (listing.heads, listing.foreign, listing.refused) == ([], 1, 0)
    with pytest.raises(SnapshotInvalid):
        other.read(name, HEAD)
    assert (tmp_path / name).exists()


def test_a_snapshot_of_another_model_is_refused_and_removed(tmp_path: Path) -> None:
    name = written(tmp_path)
    listing = shelf_in(tmp_path, key=b"of another model").read_in()
    assert (listing.heads, listing.refused) == ([], 1)
    assert not (tmp_path / name).exists()


def test_links_pipes_and_directories_are_never_followed_nor_waited_for(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "inside"
    inside.mkdir()
    name = written(outside)
    (inside / name).symlink_to(outside / name)
    (inside / "loop.kv").symlink_to(inside / "loop.kv")
    os.mkfifo(inside / "pipe.kv")
    (inside / "folder.kv").mkdir()
    listing = shelf_in(inside).read_in()
    assert listing.heads == []
    assert listing.refused == 4
    assert (outside / name).exists()
    with pytest.raises(OSError, match="symbolic links"):
        shelf_in(inside).read(name, HEAD)


def test_a_link_in_the_place_of_a_new_snapshot_is_replaced_and_its_target_is_not(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / Sealer(KEY).name(HEAD)).symlink_to(target)
    name = written(tmp_path)
    assert target.read_text() == "precious"
    assert not (tmp_path / name).is_symlink()


def test_a_snapshot_has_its_name_only_when_it_is_whole_on_the_disk(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def sync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        names = [path.suffix for path in tmp_path.iterdir()]
        seen.append((names[0], 0 if stat.S_ISDIR(status.st_mode) else status.st_size))

    shelf_in(tmp_path).write(HEAD, STATE, goes_on=always, sync=sync)
    assert seen == [(".part", HEAD.file_bytes), (".kv", 0)]


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WriteGivenUp):
        shelf_in(tmp_path).write(HEAD, STATE, goes_on=lambda: False)
    assert list(tmp_path.iterdir()) == []


def test_the_floor_of_free_space_stays(tmp_path: Path) -> None:
    with pytest.raises(NoRoom):
        shelf_in(tmp_path, floor_bytes=1 << 60).write(HEAD, STATE, goes_on=always, sync=never)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bool:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        shelf_in(tmp_path).write(HEAD, STATE, goes_on=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        shelf_in(tmp_path / "gone").read_in()
    with pytest.raises(OSError, match="No such file"):
        shelf_in(tmp_path / "gone").write(HEAD, STATE, goes_on=always, sync=never)


def test_a_touched_snapshot_is_young_and_whole(tmp_path: Path) -> None:
    path = tmp_path / written(tmp_path)
    os.utime(path, (1, 1))
    shelf_in(tmp_path).touch(path.name)
    assert path.stat().st_mtime > 1000
    assert shelf_in(tmp_path).read(path.name, HEAD).tolist() == STATE.tolist()


def test_the_oldest_is_listed_first(tmp_path: Path) -> None:
    shelf, other = shelf_in(tmp_path), head_of([9, 9, 9], state_bytes=100)
    young, old = written(tmp_path), shelf.write(other, STATE, goes_on=always, sync=never)
    os.utime(tmp_path / old, (1, 1))
    assert [name for name, _ in shelf.read_in().heads] == [old, young]


def test_a_context_too_large_for_ours_is_foreign(tmp_path: Path) -> None:
    long = head_of(range(1, 66), state_bytes=100)
    shelf = shelf_in(tmp_path)
    shelf.write(long, STATE, goes_on=always, sync=never)
    assert shelf.read_in().foreign == 1
