"""Which models an import takes, and as what: of a layout with one, with several, of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import InvalidRequest, ModelNotFound
from appliance.store.content import unreported
from appliance.store.picking import Form, form_of
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator, make_store
from tests.fakes.ollama_models import OllamaModels


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """Two models."""
    store = make_store(tmp_path / "first")
    store.import_file(generator(), "one", unreported)
    store.create("two", "FROM one\nSYSTEM be brief\n", unreported)
    for name in ("one", "two"):
        store.export(name, tmp_path / "stick", unreported)
    store.export("two", tmp_path / "two.tar", unreported)
    store.close()
    return tmp_path / "stick"


def test_what_lies_at_a_path_is_known_by_its_signs(stick: Path, tmp_path: Path) -> None:
    assert form_of(stick) is Form.LAYOUT
    assert form_of(tmp_path / "two.tar") is Form.TAR
    assert form_of(generator()) is Form.FILES
    assert form_of(generator().parent) is Form.FILES
    assert form_of(OllamaModels(tmp_path / "models").root) is Form.OLLAMA
    with pytest.raises(InvalidRequest, match="no such file"):
        form_of(tmp_path / "none")


def test_of_a_layout_all_models_come(stick: Path, store: ModelStore) -> None:
    assert sorted(store.import_file(stick, None, unreported)) == ["one:latest", "two:latest"]


def test_of_a_layout_one_may_be_chosen_and_renamed(stick: Path, store: ModelStore) -> None:
    assert store.import_file(stick, "TWO", unreported) == ["TWO:latest"]
    assert store.import_file(stick, "two", unreported, as_name="mine") == ["mine:latest"]
    assert store.show("mine").system == "be brief"


def test_several_cannot_have_one_new_name(stick: Path, store: ModelStore) -> None:
    with pytest.raises(InvalidRequest, match="holds 2 models: one:latest, two:latest; name one"):
        store.import_file(stick, None, unreported, as_name="mine")
    assert not store.list()


def test_the_only_one_gets_the_name_that_is_given(stick: Path, store: ModelStore) -> None:
    only = stick.with_name("two.tar")
    assert store.import_file(only, "mine", unreported) == ["mine:latest"]
    assert store.import_file(only, None, unreported, as_name="other") == ["other:latest"]
    with pytest.raises(ModelNotFound, match="available: two:latest"):
        store.import_file(only, "none", unreported, as_name="mine")


def test_a_file_has_one_name_given_either_way(store: ModelStore) -> None:
    assert store.import_file(generator(), None, unreported, as_name="mine") == ["mine:latest"]
    with pytest.raises(InvalidRequest, match="give it one name"):
        store.import_file(generator(), "mine", unreported, as_name="other")


@pytest.mark.parametrize("source", ["stick", "two.tar"])
def test_what_is_no_file_is_not_shared(stick: Path, store: ModelStore, source: str) -> None:
    with pytest.raises(InvalidRequest, match="only GGUF files can be shared"):
        store.import_file(stick.with_name(source), None, unreported, link=True)
