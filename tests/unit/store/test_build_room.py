"""Room for what is built: kept before the first byte, for all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from appliance.config import StoreSettings
from appliance.errors import InsufficientSpace
from appliance.gguf.header import read_header
from appliance.gguf.quantized_size import quantized_bytes
from appliance.store.content import unreported
from appliance.store.layout import Layout
from appliance.store.opening import open_store
from appliance.store.space import SLACK_BYTES, Room
from appliance.store.store import ModelStore
from tests.fakes.gguf_corpus import seeds
from tests.fakes.model_files import FakeProbe, UnsyncedFiles, generator, make_store
from tests.fakes.small_disk import SmallDisk


class Crowded:
    """A quantiser in whose time another asks for `asked_bytes` of room."""

    def __init__(self, asked_bytes: int) -> None:
        self.asked_bytes = asked_bytes
        self.layout: Layout | None = None
        self.refused: list[bool] = []

    def check(self, kind: str) -> str:
        return kind

    def __call__(
        self,
        sources: Sequence[Path],
        target: Path,
        kind: str,
        *,
        model: str,
        report: Callable[[float], None],
        wanted: Callable[[], None],
    ) -> None:
        assert self.layout is not None
        for share, content in ((0.0, b""), (1.0, generator(seed=9).read_bytes())):
            target.write_bytes(content)
            report(share)
            with self.layout.space.room() as other:
                self.refused.append(_is_refused(other, self.asked_bytes))


def _is_refused(room: Room, needed_bytes: int) -> bool:
    try:
        room.require(needed_bytes)
    except InsufficientSpace:
        return True
    return False


def _store_with(quantizer: Crowded, directory: Path) -> tuple[ModelStore, SmallDisk]:
    settings = StoreSettings(floor_fraction=0.0)
    store = open_store(directory, settings, probe=FakeProbe(), quantize=quantizer, files=UnsyncedFiles())
    store.import_file(generator(), "tiny", unreported)
    store.layout.space = space = SmallDisk(store.layout.places, 0.0)
    return store, space


def test_room_for_a_quantised_model_is_kept_while_it_is_made(tmp_path: Path) -> None:
    needed = quantized_bytes([read_header(generator())], "q8_0")
    quantizer = Crowded(asked_bytes=100)
    store, space = _store_with(quantizer, tmp_path)
    quantizer.layout = store.layout
    space.free = needed + 2 * SLACK_BYTES
    quantizer.asked_bytes = SLACK_BYTES + 1
    store.create("q", "FROM tiny", unreported, quantize="q8_0")
    assert quantizer.refused == [True, False]
    store.close()


@pytest.mark.parametrize(("kind", "needs_more"), [("q8_0", False), ("f32", True)])
def test_a_quantised_model_is_refused_for_its_own_size_not_for_that_of_its_source(
    tmp_path: Path, kind: str, needs_more: bool
) -> None:
    quantizer = Crowded(asked_bytes=0)
    store, space = _store_with(quantizer, tmp_path)
    quantizer.layout = store.layout
    space.free = generator().stat().st_size // 2 + SLACK_BYTES
    if needs_more:
        with pytest.raises(InsufficientSpace):
            store.create("q", "FROM tiny", unreported, quantize=kind)
        assert quantizer.refused == []
    else:
        store.create("q", "FROM tiny", unreported, quantize=kind)
    store.close()


def test_a_split_model_is_taken_in_with_room_for_all_its_parts_or_not_at_all(tmp_path: Path) -> None:
    store = make_store(tmp_path / "data")
    paths = seeds.write_split(tmp_path)
    sizes = [path.stat().st_size for path in paths]
    store.layout.space = space = SmallDisk(store.layout.places, 0.0)
    space.free = SLACK_BYTES + sizes[0] + sizes[1] - 1
    with pytest.raises(InsufficientSpace) as raised:
        store.import_file(paths[0], None, unreported)
    assert raised.value.fields["needed_bytes"] == sum(sizes)
    assert list(store.layout.places.blobs.iterdir()) == []
    assert list(store.layout.places.ingest.iterdir()) == []
    store.close()
