from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import InsufficientSpace
from appliance.store.files import Files
from appliance.store.places import Places
from appliance.store.verified import SETTLED_AFTER_S, Verified
from tests.fakes.fake_models import blob_of

_DIGEST = blob_of(b"content").digest


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    (tmp_path / "blob").write_bytes(b"content")
    return tmp_path / "blob"


def _after_a_cut(root: Path) -> Verified:
    return Verified(Places(root), clean=False)


def test_what_is_fresh_is_not_believed_after_a_cut(tmp_path: Path, blob: Path) -> None:
    clock = Clock()
    verified = Verified(Places(tmp_path), monotonic=clock)
    verified.record(_DIGEST, blob.stat())
    verified.save(Files())

    assert verified.knows(_DIGEST, blob.stat())
    assert not _after_a_cut(tmp_path).knows(_DIGEST, blob.stat())
    clock.now += SETTLED_AFTER_S
    verified.settle(Files())
    assert _after_a_cut(tmp_path).knows(_DIGEST, blob.stat())


def test_reading_a_settled_blob_again_does_not_unsettle_it(tmp_path: Path, blob: Path) -> None:
    verified = Verified(Places(tmp_path))
    verified.record(_DIGEST, blob.stat())
    verified.settle(Files(), closing=True)

    verified.record(_DIGEST, blob.stat())
    verified.save(Files())

    assert _after_a_cut(tmp_path).knows(_DIGEST, blob.stat())


def test_another_file_of_the_same_name_is_not_known(tmp_path: Path, blob: Path) -> None:
    verified = Verified(Places(tmp_path))
    verified.record(_DIGEST, blob.stat())
    (tmp_path / "other").write_bytes(b"content")

    assert not verified.knows(_DIGEST, (tmp_path / "other").stat())


def test_nothing_is_written_without_news(tmp_path: Path, blob: Path) -> None:
    verified = Verified(Places(tmp_path))
    verified.record(_DIGEST, blob.stat())

    verified.settle(Files())

    assert not (tmp_path / "verified.json").exists()


def test_news_that_could_not_be_written_are_written_the_next_time(tmp_path: Path, blob: Path) -> None:
    class Full(Files):
        def write_aside(self, path: Path, content: bytes) -> None:
            raise InsufficientSpace(needed_bytes=1, available_bytes=0, floor_bytes=0, directory="disk")

    clock = Clock()
    verified = Verified(Places(tmp_path), monotonic=clock)
    verified.record(_DIGEST, blob.stat())
    clock.now += SETTLED_AFTER_S
    with pytest.raises(InsufficientSpace):
        verified.settle(Full())

    verified.settle(Files())

    assert _after_a_cut(tmp_path).knows(_DIGEST, blob.stat())
