"""What is imported of a layout, and as what: names of models, tags alone, and neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.errors import InvalidRequest, ModelNotFound
from appliance.store.content import unreported
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator, make_store

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """Two models, `kind` and `stern`, as `outpost export` writes them."""
    theirs = make_store(tmp_path / "theirs")
    theirs.import_file(generator(), "tiny", unreported)
    for name in ("kind", "stern"):
        theirs.create(name, f"FROM tiny\nSYSTEM Be {name}.", unreported)
        theirs.export(name, tmp_path / "stick", unreported)
    theirs.close()
    return tmp_path / "stick"


def rename(stick: Path, *names: str | None) -> None:
    """Give the entries these names, as other tools write them; None: none. What is left over goes."""
    path = stick / "index.json"
    index = json.loads(path.read_bytes())
    index["manifests"] = index["manifests"][: len(names)]
    for entry, name in zip(index["manifests"], names, strict=True):
        entry["annotations"] = {} if name is None else {REF_NAME: name}
    path.chmod(0o600)
    path.write_text(json.dumps(index))


def told(store: ModelStore, stick: Path, name: str | None = None) -> list[str]:
    return sorted(store.import_file(stick, name, unreported))


def test_models_come_under_their_own_names(store: ModelStore, stick: Path) -> None:
    assert told(store, stick) == ["kind:latest", "stern:latest"]


@pytest.mark.parametrize("tag", ["latest", "v1.0", "smollm2"])
def test_a_tag_alone_is_no_name_of_a_model(store: ModelStore, stick: Path, tag: str) -> None:
    rename(stick, tag)
    with pytest.raises(InvalidRequest, match=f"only the tag '{tag}'; say which NAME") as caught:
        told(store, stick)
    assert caught.value.param == "name"
    assert store.list() == []
    assert told(store, stick, "mine") == ["mine:latest"]


def test_one_of_several_tags_is_chosen_by_the_tag_of_the_name(store: ModelStore, stick: Path) -> None:
    rename(stick, "q4", "q8")
    assert told(store, stick, "mine:q8") == ["mine:q8"]
    with pytest.raises(ModelNotFound, match="available: :q4, :q8"):
        told(store, stick, "mine:q5")


def test_beside_names_tags_alone_are_left_out(store: ModelStore, stick: Path) -> None:
    rename(stick, "latest", "team/stern:v1")
    assert told(store, stick) == ["team/stern:v1"]


@pytest.mark.parametrize("name", [None, "../no model"])
def test_what_has_no_name_at_all_is_told_so(store: ModelStore, stick: Path, name: str | None) -> None:
    rename(stick, name)
    with pytest.raises(InvalidRequest, match="nothing that is a model's name; say which NAME"):
        told(store, stick)
    assert told(store, stick, "mine") == ["mine:latest"]
