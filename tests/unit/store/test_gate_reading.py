"""A file that the system does not let be read just now is neither admitted nor put away."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import FileUnreadable, ModelInvalid
from appliance.store.content import unreported
from appliance.store.digest import digest_of, hex_of
from appliance.store.store import ModelStore
from tests.fakes.artifacts import OLLAMA, Artifact
from tests.fakes.failing_reads import Fail, FailingReads, opening, reading
from tests.fakes.model_files import FakeProbe, generator, make_store
from tests.fakes.stored_models import write_stick

W = generator().read_bytes()
DIGEST = digest_of(W)
FAULTS = pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM], ids=errno.errorcode.get)
PLACES = pytest.mark.parametrize("fails", [opening, reading])


@pytest.fixture
def files() -> FailingReads:
    return FailingReads()


@pytest.fixture
def store(tmp_path: Path, files: FailingReads, probe: FakeProbe) -> Iterator[ModelStore]:
    made = make_store(tmp_path / "data", files=files, probe=probe)
    yield made
    made.close()


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    artifact = Artifact()
    artifact.add(f"{OLLAMA}model", W)
    return write_stick(tmp_path / "stick", "tiny", artifact)


def fail_in_store(store: ModelStore, files: FailingReads, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the gate on: until then the file of the stick, which has the same name, is read."""
    admit = store._exchange._gate.admit

    def failing(*args: object, **more: object) -> None:
        files.names.add(hex_of(DIGEST))
        admit(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store._exchange._gate, "admit", failing)


def nothing_was_put_away(store: ModelStore) -> bool:
    return list(store.layout.places.quarantine.iterdir()) == [] and store.layout.places.blob(DIGEST).exists()


@FAULTS
@PLACES
def test_a_header_that_cannot_be_read_now_is_read_at_the_next_try(
    store: ModelStore,
    files: FailingReads,
    stick: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Fail,
    number: int,
) -> None:
    fails(files, number)
    with monkeypatch.context() as patched:
        fail_in_store(store, files, patched)
        with pytest.raises(FileUnreadable, match="could not be read now") as caught:
            store.import_file(stick, "tiny", unreported)

    assert caught.value.fields["errno"] == number
    assert store.list() == []
    assert nothing_was_put_away(store)
    files.heal()
    store.import_file(stick, "tiny", unreported)
    assert [row.broken for row in store.list()] == [None]


@FAULTS
@PLACES
def test_a_blob_in_doubt_that_cannot_be_hashed_now_is_hashed_at_the_next_try(
    store: ModelStore, files: FailingReads, fails: Fail, number: int
) -> None:
    store.layout.put(W, "text/plain")
    store.layout.blobs.verified.forget(DIGEST)
    files.names.add(hex_of(DIGEST))
    fails(files, number)

    with pytest.raises(FileUnreadable) as caught:
        store.create("tiny", f"FROM {DIGEST}", unreported)

    assert caught.value.fields["errno"] == number
    assert nothing_was_put_away(store)
    files.heal()
    store.create("tiny", f"FROM {DIGEST}", unreported)
    assert [row.broken for row in store.list()] == [None]


def test_a_runner_that_died_of_the_disk_blames_no_file(
    store: ModelStore,
    files: FailingReads,
    probe: FakeProbe,
    stick: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe.fault = "the runner that tried it died: SIGBUS"
    files.at_read, files.reads_before = errno.EIO, 1  # the header can be read
    with monkeypatch.context() as patched:
        fail_in_store(store, files, patched)
        with pytest.raises(FileUnreadable):
            store.import_file(stick, "tiny", unreported)

    assert nothing_was_put_away(store)
    files.heal()
    with pytest.raises(ModelInvalid, match="SIGBUS"):
        store.import_file(stick, "tiny", unreported)
    assert not nothing_was_put_away(store)


def test_what_has_changed_on_the_disk_is_put_away(store: ModelStore, files: FailingReads) -> None:
    store.layout.put(W, "text/plain")
    store.layout.blobs.verified.forget(DIGEST)
    path = store.layout.places.blob(DIGEST)
    path.chmod(0o644)
    path.write_bytes(W[:-1] + b"?")

    with pytest.raises(Exception, match="has changed"):
        store.create("tiny", f"FROM {DIGEST}", unreported)

    assert not nothing_was_put_away(store)
