"""Models out of a store of Ollama's, whatever lies there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import (
    ContentError,
    InvalidRequest,
    ManifestInvalid,
    ModelInvalid,
    ModelNotFound,
    OutpostError,
    StoreFault,
)
from appliance.store.content import unreported
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.manifest import MAX_BYTES
from appliance.store.ollama_store import OllamaStore
from appliance.store.store import ModelStore
from tests.fakes.model_files import FakeProbe, generator, make_store
from tests.fakes.ollama_models import LIBRARY, PARAMS, OllamaModels

TINY = f"{LIBRARY}/tiny:latest"


@pytest.fixture
def models(tmp_path: Path) -> OllamaModels:
    return OllamaModels(tmp_path / "models")


def weights() -> bytes:
    return generator().read_bytes()


def names(store: ModelStore) -> list[str]:
    return sorted(row.name for row in store.list())


def state(root: Path) -> dict[str, tuple[int, ...]]:
    """Everything a writer would leave a trace in."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (root, *root.rglob("*")):
        told = path.lstat()
        found[str(path)] = (told.st_mode, told.st_nlink, told.st_size, told.st_mtime_ns, told.st_ctime_ns)
    return found


# ── good ones ───────────────────────────────────────────────────────────────────────────────────────


def test_the_only_model_comes_in_whole_and_nothing_is_written_there(
    models: OllamaModels, store: ModelStore, probe: FakeProbe
) -> None:
    models.add(TINY, weights(), system=b"Be brief.")
    before = state(models.root)

    assert store.import_file(models.root, None, unreported) == ["tiny:latest"]

    assert state(models.root) == before
    shown = store.show("tiny")
    assert (shown.system, shown.parameters["temperature"]) == ("Be brief.", 0.5)
    assert shown.listed.digest == digest_of(models.manifest(TINY).read_bytes())
    assert len(probe.asked) == 1


def test_several_models_are_listed_and_none_is_taken(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    models.add("registry.ollama.ai/alice/big:7b", b"other")
    models.add("localhost:5000/team/tiny:v1", b"third")

    with pytest.raises(InvalidRequest) as caught:
        store.import_file(models.root, None, unreported)

    assert "holds 3 models: localhost:5000/team/tiny:v1, alice/big:7b, tiny:latest;" in caught.value.message
    assert "name one" in caught.value.message
    assert not store.list()
    assert not list(store.layout.places.blobs.iterdir())


def test_one_of_several_is_chosen_by_its_name_in_any_case(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    models.add(f"{LIBRARY}/Other:7b", b"other")

    assert store.import_file(models.root, "TINY", unreported) == ["TINY:latest"]
    assert names(store) == ["TINY:latest"]


def test_a_chosen_one_may_be_kept_under_another_name(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    models.add(f"{LIBRARY}/other:7b", b"other")

    assert store.import_file(models.root, "tiny", unreported, as_name="mine:v1") == ["mine:v1"]
    assert names(store) == ["mine:v1"]


def test_the_only_one_may_be_renamed_without_naming_it(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    assert store.import_file(models.root, None, unreported, as_name="mine") == ["mine:latest"]


def test_a_model_that_is_not_there_is_told_with_those_that_are(
    models: OllamaModels, store: ModelStore
) -> None:
    models.add(TINY, weights())
    with pytest.raises(ModelNotFound, match="available: tiny:latest"):
        store.import_file(models.root, "llama3.2:1b", unreported)


def test_models_that_share_a_blob_bring_it_once(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    models.add(f"{LIBRARY}/kind:latest", weights(), system=b"Be kind.")
    store.import_file(models.root, "tiny", unreported)
    store.import_file(models.root, "kind", unreported)

    assert names(store) == ["kind:latest", "tiny:latest"]
    assert max(row.unique_bytes for row in store.list()) < 10_000


def test_an_empty_store_has_nothing_to_give(models: OllamaModels, store: ModelStore) -> None:
    with pytest.raises(InvalidRequest, match="nothing that is a model's name"):
        store.import_file(models.root, None, unreported)


def test_what_ollama_cannot_have_named_is_passed_over(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    for name in (".DS_Store", "a\nb", "-x", "é", " "):
        (models.root / "manifests" / name).mkdir()
        (models.manifest(TINY).parent / name).write_bytes(b"{}")
    (models.root / "manifests" / "too" / "short").mkdir(parents=True)
    (models.root / "manifests" / "file").write_bytes(b"{}")
    (models.manifest(TINY).parent / "deeper").mkdir()

    assert store.import_file(models.root, None, unreported) == ["tiny:latest"]


def test_a_bad_manifest_beside_it_does_not_stop_a_good_one(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, weights())
    models.write(f"{LIBRARY}/bad:latest", b"\xff\x00")
    assert store.import_file(models.root, "tiny", unreported) == ["tiny:latest"]


def test_ollamas_files_are_never_shared_since_sharing_would_change_them(
    models: OllamaModels, store: ModelStore
) -> None:
    models.add(TINY, weights())
    before = state(models.root)
    with pytest.raises(InvalidRequest, match="only GGUF files can be shared"):
        store.import_file(models.root, None, unreported, link=True)
    assert state(models.root) == before


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_model_passes_no_gate(models: OllamaModels, store: ModelStore) -> None:
    models.add(TINY, b"no GGUF at all" * 100)
    with pytest.raises(ModelInvalid):
        store.import_file(models.root, None, unreported)
    assert not store.list()


def test_what_the_probe_refuses_is_not_listed(tmp_path: Path, models: OllamaModels) -> None:
    store = make_store(tmp_path / "strict", probe=FakeProbe(fault="its logits are not finite"))
    models.add(TINY, weights())
    with pytest.raises(ModelInvalid, match="not finite"):
        store.import_file(models.root, None, unreported)
    assert not store.list()
    store.close()


# ── hostile ones ────────────────────────────────────────────────────────────────────────────────────


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _weights_path(models: OllamaModels) -> Path:
    return models.blob(digest_of(weights()))


def _document(models: OllamaModels) -> dict[str, object]:
    document: dict[str, object] = json.loads(models.manifest(TINY).read_bytes())
    return document


def _change(models: OllamaModels, **fields: object) -> None:
    models.write(TINY, json.dumps({**_document(models), **fields}).encode())


def _move_and_link(path: Path) -> None:
    there = path.with_name(path.name + "-elsewhere")
    path.rename(there)
    path.symlink_to(there)


def _flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


Damage = Callable[[OllamaModels], object]
DAMAGES: dict[str, Damage] = {
    "a blob is missing": lambda models: _weights_path(models).unlink(),
    "a blob is too short": lambda models: os.truncate(_weights_path(models), 100),
    "a blob is too long": lambda models: os.truncate(_weights_path(models), len(weights()) + 1),
    "a blob is flipped": lambda models: _flip(_weights_path(models)),
    "a blob is zeroed": lambda models: _weights_path(models).write_bytes(bytes(len(weights()))),
    "a small blob is flipped": lambda models: _flip(models.blob(digest_of(PARAMS))),
    "a blob is a link": lambda models: _move_and_link(_weights_path(models)),
    "a blob is a pipe": lambda models: _replace(_weights_path(models), os.mkfifo),
    "a blob is a directory": lambda models: _replace(_weights_path(models), Path.mkdir),
    "blobs is a link": lambda models: _move_and_link(models.root / "blobs"),
    "manifests is a link": lambda models: _move_and_link(models.root / "manifests"),
    "a host is a link": lambda models: _move_and_link(models.manifest(TINY).parents[2]),
    "a model is a link": lambda models: _move_and_link(models.manifest(TINY).parent),
    "a tag is a link": lambda models: _move_and_link(models.manifest(TINY)),
    "a manifest is a pipe": lambda models: _replace(models.manifest(TINY), os.mkfifo),
    "a manifest is empty": lambda models: models.write(TINY, b""),
    "a manifest is no JSON": lambda models: models.write(TINY, b"\xff\xfe"),
    "a manifest is nested": lambda models: models.write(TINY, b"[" * 100_000),
    "a manifest is huge": lambda models: models.write(TINY, b" " * (MAX_BYTES + 1)),
    "a manifest is an index": lambda models: models.write(TINY, b'{"schemaVersion":2,"manifests":[]}'),
    "a manifest has no model": lambda models: _change(models, layers=[]),
    "a digest leads out": lambda models: _change(
        models, layers=[{"mediaType": "a/b", "digest": "sha256:../../../etc/passwd", "size": 1}]
    ),
    "a digest is another's": lambda models: _change(
        models, layers=[{"mediaType": "a/b", "digest": f"sha512:{'0' * 128}", "size": 1}]
    ),
    "a size is negative": lambda models: _change(
        models, layers=[{"mediaType": "a/b", "digest": digest_of(PARAMS), "size": -1}]
    ),
    "a size is enormous": lambda models: _change(
        models, layers=[{"mediaType": "a/b", "digest": digest_of(PARAMS), "size": 1 << 60}]
    ),
    "it runs elsewhere": lambda models: _change(
        models,
        config={
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": models.put(b'{"remote_host":"https://elsewhere.example"}'),
            "size": 43,
        },
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_hostile_store_is_refused_and_nothing_is_lost(
    models: OllamaModels, store: ModelStore, damage: str
) -> None:
    store.import_file(generator(seed=2), "earlier", unreported)
    models.add(TINY, weights())
    DAMAGES[damage](models)
    before = state(models.root)

    with pytest.raises((ContentError, InvalidRequest, StoreFault)) as caught:
        store.import_file(models.root, "tiny", unreported)

    assert caught.value.message
    assert names(store) == ["earlier:latest"]
    assert store.verify(None, unreported).broken == []
    assert state(models.root) == before


def test_what_is_missing_is_known_before_the_first_byte_comes(
    models: OllamaModels, store: ModelStore
) -> None:
    models.add(TINY, weights())
    _weights_path(models).unlink()
    with pytest.raises(ManifestInvalid, match="is missing; have Ollama pull it again"):
        store.import_file(models.root, None, unreported)
    assert not list(store.layout.places.blobs.iterdir())


def test_a_directory_with_other_things_in_it_is_no_store_of_ollamas(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    with pytest.raises(OutpostError, match="blobs/ in it is no directory"):
        OllamaStore(tmp_path, files=Files())
