from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from provision.bootstrap import places
from provision.bootstrap.environment import digest_of
from provision.bootstrap.steps import BootstrapError, duration, run


def test_a_placed_file_has_left_its_old_name(tmp_path: Path) -> None:
    source, target = tmp_path / "aside", tmp_path / "final"
    source.write_bytes(b"x")
    places.place(source, target)
    assert (source.exists(), target.read_bytes()) == (False, b"x")


def test_a_placed_folder_keeps_its_files(tmp_path: Path) -> None:
    source, target = tmp_path / "aside", tmp_path / "final"
    source.mkdir()
    (source / "a").write_bytes(b"x")
    places.place(source, target)
    assert (target / "a").read_bytes() == b"x"


def test_a_file_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert places.sha256_of(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_the_cache_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert places.cache() == tmp_path / "outpost"


def test_lists_that_join_to_the_same_bytes_have_different_digests() -> None:
    assert digest_of([b"ab", b"c"]) != digest_of([b"a", b"bc"])


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (125.0, "2 min 5 s")])
def test_a_duration_is_told_in_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_program_that_is_not_there_is_a_failure_with_a_hint() -> None:
    with pytest.raises(BootstrapError, match="no-such-program is not there") as caught:
        run(["no-such-program"], hint="install it")
    assert caught.value.hint == "install it"
