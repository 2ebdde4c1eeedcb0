"""Quantising at create: what is refused before a byte is copied, the room it takes, what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.config import StoreSettings
from appliance.errors import (
    ClientGone,
    InsufficientSpace,
    InvalidRequest,
    ModelInvalid,
    Unsupported,
)
from appliance.gguf.header import read_header
from appliance.gguf.quantized_size import quantized_bytes
from appliance.gguf.values import ValueType
from appliance.store import admission
from appliance.store.content import Progress, Wanted, unreported
from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.layout import Layout
from appliance.store.media_types import MODEL_WEIGHT, OCI_MANIFEST
from appliance.store.opening import open_store
from appliance.store.quantizing import foreseen
from appliance.store.reference import Reference
from appliance.store.space import SLACK_BYTES, Space
from appliance.store.store import ModelStore
from tests.fakes.fake_models import blob_of
from tests.fakes.gguf_corpus import seeds
from tests.fakes.model_files import FakeProbe, Told, UnsyncedFiles, adapter, generator


def weights_of(store: ModelStore, name: str) -> list[Path]:
    return [path for spec in store.serve_specs() if spec.name == name for path in spec.paths]


# ── from ────────────────────────────────────────────────────────────────────────────────────────────


class FakeQuantizer:
    """Writes another small model, whatever is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def check(self, kind: str) -> str:
        if kind.lower() != "q8_0":
            raise InvalidRequest(reason=f"{kind!r} is not one of Q8_0", param="quantize")
        return "Q8_0"

    def __call__(
        self,
        sources: Sequence[Path],
        target: Path,
        kind: str,
        *,
        model: str,
        report: Callable[[float], None],
        wanted: Wanted,
    ) -> None:
        self.asked.append((len(sources), kind))
        assert model
        report(0.5)
        wanted()
        target.write_bytes(generator(seed=9).read_bytes())


def test_quantising_replaces_the_weights_and_leaves_nothing_behind(tmp_path: Path) -> None:
    quantizer = FakeQuantizer()
    settings = StoreSettings(floor_fraction=0.0)
    store = open_store(tmp_path, settings, probe=FakeProbe(), quantize=quantizer, files=UnsyncedFiles())
    told = Told()
    store.create("q", f"FROM {generator()}\nSYSTEM hi", told, base_dir=tmp_path, quantize="q8_0")
    assert quantizer.asked == [(1, "Q8_0")]
    assert "quantizing F32 model to Q8_0" in told.statuses
    assert store.show("q").system == "hi"
    assert not list(store.layout.places.ingest.iterdir())
    with pytest.raises(InvalidRequest, match="not one of"):
        store.create("q", f"FROM {generator(seed=4)}", unreported, base_dir=tmp_path, quantize="q1")
    store.close()


@pytest.fixture
def quantizer() -> FakeQuantizer:
    return FakeQuantizer()


@pytest.fixture
def quantising(tmp_path: Path, quantizer: FakeQuantizer) -> Iterator[ModelStore]:
    settings = StoreSettings(floor_fraction=0.0)
    made = open_store(
        tmp_path / "data", settings, probe=FakeProbe(), quantize=quantizer, files=UnsyncedFiles()
    )
    yield made
    made.close()


def blobs_of(store: ModelStore) -> list[Path]:
    return list(store.layout.places.blobs.iterdir())


def write_quantised(path: Path) -> Path:
    path.write_bytes(seeds.generator().add("general.file_type", ValueType.UINT32, 3).render())
    return path


def test_a_file_that_is_quantised_already_is_refused_before_a_byte_is_copied(
    quantising: ModelStore, quantizer: FakeQuantizer, tmp_path: Path
) -> None:
    write_quantised(tmp_path / "w.gguf")
    with pytest.raises(InvalidRequest, match=r"'w.gguf' is Q4_1 already, and Q8_0 is made of F16, .*without"):
        quantising.create("q", "FROM ./w.gguf", unreported, base_dir=tmp_path, quantize="q8_0")
    assert not blobs_of(quantising)
    assert not quantizer.asked


def test_a_stored_model_that_is_quantised_already_is_refused_without_a_quantiser(
    quantising: ModelStore, quantizer: FakeQuantizer, tmp_path: Path
) -> None:
    quantising.import_file(write_quantised(tmp_path / "w.gguf"), "tiny", unreported)
    with pytest.raises(InvalidRequest, match="'tiny' is Q4_1 already, and Q8_0 is made of F16"):
        quantising.create("q", "FROM tiny", unreported, quantize="q8_0")
    assert not quantizer.asked


def test_adapters_of_what_cannot_be_quantised_are_not_copied(quantising: ModelStore, tmp_path: Path) -> None:
    quantising.import_file(write_quantised(tmp_path / "w.gguf"), "tiny", unreported)
    before = blobs_of(quantising)
    with pytest.raises(InvalidRequest, match="'tiny' is Q4_1 already"):
        quantising.create(
            "q", f"FROM tiny\nADAPTER {adapter()}", unreported, base_dir=tmp_path, quantize="q8_0"
        )
    assert blobs_of(quantising) == before


class Peeked:
    """A source of one model; counts the bytes that were taken of its weights."""

    is_parallel = False

    def __init__(self, *weights: bytes) -> None:
        self.blobs = {blob_of(content).digest: content for content in weights}
        self.manifest = Manifest(
            media_type=OCI_MANIFEST,
            config=blob_of(b"{}", "application/x"),
            layers=tuple(blob_of(content, MODEL_WEIGHT) for content in weights),
        )
        self.taken = 0

    def resolve(self, reference: Reference) -> Resolved:
        raise NotImplementedError

    def fetch(self, descriptor: Descriptor) -> bytes:
        raise NotImplementedError

    @contextmanager
    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        def chunks() -> Iterator[bytes]:
            for at in range(start, descriptor.size if end is None else end, 1000):
                self.taken += 1000
                yield self.blobs[descriptor.digest][at : at + 1000]

        yield chunks()


def quantised_bytes(tmp_path: Path) -> bytes:
    return write_quantised(tmp_path / "w.gguf").read_bytes()


def test_what_is_still_elsewhere_is_known_by_its_header(tmp_path: Path) -> None:
    wanted: list[None] = []
    look = foreseen("Q8_0", model="far", wanted=lambda: wanted.append(None))
    quantised = Peeked(quantised_bytes(tmp_path) + bytes(8 << 20))
    with pytest.raises(InvalidRequest, match="'far' is Q4_1 already"):
        look(quantised.manifest, quantised)
    assert quantised.taken < 3 << 20
    assert wanted
    plain = Peeked(generator().read_bytes())
    look(plain.manifest, plain)
    page = Peeked(b"<html>" * 100)
    with pytest.raises(ModelInvalid, match=r"far.*no GGUF"):
        look(page.manifest, page)


def test_the_first_of_several_files_without_tensors_says_nothing() -> None:
    first = seeds.generator()
    first.tensors = []
    first.pairs = [pair for pair in first.pairs if pair.key.text != b"general.file_type"]
    source = Peeked(first.render(), b"second")
    foreseen("Q8_0", model="far", wanted=lambda: None)(source.manifest, source)


def test_an_unknown_quantisation_is_refused_before_a_byte_is_copied(quantising: ModelStore) -> None:
    with pytest.raises(InvalidRequest, match="'q9' is not one of Q8_0"):
        quantising.create("q", f"FROM {generator()}", unreported, base_dir=Path("/"), quantize="q9")
    assert not blobs_of(quantising)


class Room(Space):
    """A disk with so much free."""

    def __init__(self, layout: Layout, free: int) -> None:
        super().__init__(layout.places, 0.0)
        self._free = free

    def free_bytes(self) -> tuple[int, int]:
        return self._free, 0


@pytest.mark.parametrize("is_enough", [False, True])
def test_room_for_the_base_and_its_result_is_there_before_a_byte_is_copied(
    quantising: ModelStore, is_enough: bool
) -> None:
    facts = admission.check([generator()], model="m")
    needed = facts.size_bytes + quantized_bytes([read_header(generator())], "Q8_0")
    quantising.layout.space = Room(quantising.layout, needed + SLACK_BYTES - (not is_enough))
    recipe = f"FROM {generator()}"
    if is_enough:
        quantising.create("q", recipe, unreported, base_dir=Path("/"), quantize="q8_0")
        return
    with pytest.raises(InsufficientSpace) as caught:
        quantising.create("q", recipe, unreported, base_dir=Path("/"), quantize="q8_0")
    assert caught.value.fields["needed_bytes"] == needed
    assert not blobs_of(quantising)


def test_room_for_all_parts_of_a_split_model_is_there_before_the_first_is_copied(
    stocked: ModelStore, tmp_path: Path
) -> None:
    paths, before = seeds.write_split(tmp_path), blobs_of(stocked)
    needed = sum(path.stat().st_size for path in paths)
    stocked.layout.space = Room(stocked.layout, needed + SLACK_BYTES - 1)
    with pytest.raises(InsufficientSpace) as caught:
        stocked.import_file(paths[0], "big", unreported)
    assert caught.value.fields["needed_bytes"] == needed
    assert blobs_of(stocked) == before
    assert not list(stocked.layout.places.ingest.iterdir())


def test_files_that_are_adopted_in_place_need_no_room(stocked: ModelStore, tmp_path: Path) -> None:
    paths = seeds.write_split(tmp_path)
    stocked.layout.space = Room(stocked.layout, SLACK_BYTES + 100_000)
    stocked.import_file(paths[0], "big", unreported, link=True)
    assert all(path.samefile(paths[number]) for number, path in enumerate(weights_of(stocked, "big:latest")))


def test_who_gives_up_while_it_is_quantised_leaves_nothing_behind(tmp_path: Path) -> None:
    """The quantiser asks by the report whether it is still wanted."""
    settings, told = StoreSettings(floor_fraction=0.0), []
    store = open_store(tmp_path, settings, probe=FakeProbe(), quantize=FakeQuantizer(), files=UnsyncedFiles())

    def report(progress: Progress) -> None:
        if progress.status.startswith("quantizing"):
            told.append(progress)
        if len(told) == 2:
            raise ClientGone

    with pytest.raises(ClientGone):
        store.create("q", f"FROM {generator()}", report, base_dir=tmp_path, quantize="q8_0")
    assert told[0] == told[1]
    assert not store.list()
    assert not list(store.layout.places.ingest.iterdir())
    store.close()


def test_a_process_without_a_quantiser_says_so(stocked: ModelStore) -> None:
    with pytest.raises(Unsupported):
        stocked.create("x", "FROM tiny", unreported, quantize="q8_0")


# ── files of this machine ───────────────────────────────────────────────────────────────────────────
