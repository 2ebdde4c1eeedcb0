"""What ends a store does not wait for: the hashing of what an unclean stop has left in doubt."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from appliance.errors import ShuttingDown
from appliance.store.content import unreported
from appliance.store.digest import parse_digest
from tests.fakes.model_files import UnsyncedFiles, generator, make_store


class SlowReads(UnsyncedFiles):
    """A megabyte takes a tenth of a second, all of it ten; `began` when the first is read."""

    def __init__(self) -> None:
        self.is_slow = False
        self.began = threading.Event()

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        if self.is_slow:
            self.began.set()
            time.sleep(0.1)
        return super().pread(descriptor, length, offset)


def test_hashing_ends_at_once_and_the_next_start_does_it(tmp_path: Path) -> None:
    files = SlowReads()
    store = make_store(tmp_path / "data", files=files)
    large = tmp_path / "large.gguf"
    large.write_bytes(generator().read_bytes() + bytes(100 << 20))
    store.import_file(large, "large", unreported)
    (spec,) = store.serve_specs()
    store.layout.blobs.verified.forget(parse_digest(f"sha256:{spec.paths[0].name}"))
    ended: list[ShuttingDown] = []

    def tell() -> None:
        try:
            store.serve_specs()
        except ShuttingDown as error:
            ended.append(error)

    files.is_slow = True
    telling = threading.Thread(target=tell)
    telling.start()
    assert files.began.wait(5)
    began_s = time.monotonic()
    store.halt()
    telling.join(5)
    store.close()

    assert time.monotonic() - began_s < 4
    assert len(ended) == 1
    assert list((tmp_path / "data").rglob("quarantine/*")) == []
    again = make_store(tmp_path / "data")
    assert [spec.broken for spec in again.serve_specs(only_known=True)] != [None]
    assert [spec.broken for spec in again.serve_specs()] == [None]
    again.close()


def test_after_a_halt_nothing_is_hashed_any_more(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    blob = store.layout.put(b"content", "text/plain")
    store.layout.blobs.verified.forget(blob.digest)
    store.halt()
    with pytest.raises(ShuttingDown):
        store.layout.path(blob.digest)
    store.close()
