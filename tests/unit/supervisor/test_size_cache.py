"""Sizes on disk: what is kept, what is not believed, what goes when there is too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.supervisor.learned_sizes import LearnedSizes
from appliance.supervisor.size_cache import SizeCache, build_fingerprint, model_key
from appliance.wire.messages import Placement
from appliance.wire.sizes import Measured

KEY = "a" * 40


def placement(n_ctx_seq: int) -> Placement:
    return Placement(n_ctx_seq=n_ctx_seq, n_seq_max=1, kv_cells=0)


def sized(n_ctx_seq: int) -> Measured:
    return Measured(index=0, fault=f"of {n_ctx_seq}")


def test_what_is_kept_is_found_by_another_process(tmp_path: Path) -> None:
    SizeCache(tmp_path).keep(KEY, {placement(8): sized(8), placement(16): sized(16)})
    found = SizeCache(tmp_path).find(KEY, [placement(16), placement(32)])
    assert found == {placement(16): sized(16)}


def test_new_placements_are_added_to_those_there_are(tmp_path: Path) -> None:
    cache = SizeCache(tmp_path)
    cache.keep(KEY, {placement(8): sized(8)})
    cache.keep(KEY, {placement(16): sized(16)})
    assert len(cache.find(KEY, [placement(8), placement(16)])) == 2


def test_another_key_finds_nothing(tmp_path: Path) -> None:
    cache = SizeCache(tmp_path)
    cache.keep(KEY, {placement(8): sized(8)})
    assert cache.find("b" * 40, [placement(8)]) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00" * 4096,
        b'{"format":1}',
        b'{"format":99,"entries":{}}',
        b'{"format":1,"entries":{"x":{"t":"Measured","index":"seven"}}}',
        b"[" * 100_000,
    ],
)
def test_garbage_is_ignored_and_written_over(tmp_path: Path, content: bytes) -> None:
    cache = SizeCache(tmp_path)
    (tmp_path / f"{KEY}.json").write_bytes(content)
    assert cache.find(KEY, [placement(8)]) == {}
    cache.keep(KEY, {placement(8): sized(8)})
    assert cache.find(KEY, [placement(8)]) == {placement(8): sized(8)}


def test_a_link_in_a_files_place_is_not_followed_and_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    directory = tmp_path / "sizes"
    directory.mkdir()
    (directory / f"{KEY}.json").symlink_to(target)
    cache = SizeCache(directory)
    assert cache.find(KEY, [placement(8)]) == {}
    cache.keep(KEY, {placement(8): sized(8)})
    assert target.read_bytes() == b"precious"
    assert cache.find(KEY, [placement(8)]) == {placement(8): sized(8)}


def test_a_directory_that_cannot_be_made_is_a_cache_that_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = SizeCache(tmp_path / "file" / "sizes")
    cache.keep(KEY, {placement(8): sized(8)})
    assert cache.find(KEY, [placement(8)]) == {}


def test_the_oldest_placements_of_a_model_go_first(tmp_path: Path) -> None:
    cache = SizeCache(tmp_path)
    cache.keep(KEY, {placement(8): sized(8)})
    cache.keep(KEY, {placement(length): sized(length) for length in range(100, 612)})
    assert cache.find(KEY, [placement(8), placement(100)]) == {placement(100): sized(100)}


def test_the_oldest_models_go_first_and_so_does_what_a_crash_left(tmp_path: Path) -> None:
    for number in range(140):
        path = tmp_path / f"{number:040}.json"
        path.write_bytes(b"{}")
        os.utime(path, (number, number))
    (tmp_path / "x.json.tmp").write_bytes(b"half")
    SizeCache(tmp_path).keep(KEY, {placement(8): sized(8)})
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 128
    assert f"{KEY}.json" in left
    assert f"{0:040}.json" not in left and f"{139:040}.json" in left


def test_a_key_changes_with_the_build_the_files_and_the_options(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"1")
    other.write_bytes(b"1")

    def key(
        *,
        build: str = "b",
        identity: str | None = None,
        paths: list[Path] | None = None,
        draft: Path | None = None,
        options: tuple[bool, ...] = (True,),
    ) -> str:
        return model_key(build=build, identity=identity, paths=paths or [path], draft=draft, options=options)

    keys = [
        key(),
        key(build="c"),
        key(identity="sha256:1"),
        key(paths=[other]),
        key(paths=[path, other]),
        key(draft=other),
        key(options=(False,)),
    ]
    path.write_bytes(b"22")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key(identity="sha256:1") == keys[2], "content that is known by digest has no time"


def test_the_fingerprint_of_this_build_is_always_the_same() -> None:
    assert build_fingerprint() == build_fingerprint()


def test_what_loads_took_is_remembered_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "data" / "learned.json"
    learned = LearnedSizes(path, board="orin")
    assert learned.corrected_bytes(1000, model="m") == 1000
    assert learned.observe(model="m", planned_bytes=1000, measured_bytes=1200) == 1.2
    assert LearnedSizes(path, board="orin").corrected_bytes(1000, model="m") == 1200
    path.write_bytes(b"garbage")
    assert LearnedSizes(path, board="orin").corrected_bytes(1000, model="m") == 1000
