from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.errors import (
    ClientGone,
    InvalidReference,
    InvalidRequest,
    ModelBroken,
    ModelInvalid,
    ModelNotFound,
    OutboundRefused,
    ShuttingDown,
    StoreInUse,
)
from appliance.store.content import Progress, unreported
from appliance.store.gate import VALIDATING
from appliance.store.store import ModelStore
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.fakes.model_files import Changes, FakeProbe, Told, generator, make_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ModelStore]:
    made = make_store(tmp_path)
    yield made
    made.close()


def names(store: ModelStore) -> list[str]:
    return sorted(row.name for row in store.list())


def tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


# ── a file comes in ─────────────────────────────────────────────────────────────────────────────────


def test_an_imported_file_is_listed_with_what_its_header_says(store: ModelStore) -> None:
    assert store.import_file(generator(), "tiny", unreported) == ["tiny:latest"]
    (row,) = store.list()
    assert (row.name, row.architecture, row.broken) == ("tiny:latest", "llama", None)
    assert row.unique_bytes == row.size_bytes > generator().stat().st_size
    assert abs(time.time() - row.modified_s) < 60


def test_a_file_without_a_name_is_named_after_itself(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "My Model (v2)__Q4.gguf"
    path.write_bytes(generator().read_bytes())
    assert store.import_file(path, None, unreported) == ["my-model-v2-q4:latest"]


def test_the_second_name_of_one_content_costs_nothing(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    store.copy("tiny", "alice/other:v1")
    assert names(store) == ["alice/other:v1", "tiny:latest"]
    assert [row.unique_bytes for row in store.list()] == [0, 0]
    assert len({row.id for row in store.list()}) == 1


def test_the_list_is_filtered_by_its_beginning_in_any_case(store: ModelStore) -> None:
    store.import_file(generator(), "Tiny", unreported)
    store.copy("tiny", "other")
    assert [row.name for row in store.list("ti")] == ["Tiny:latest"]


def test_the_newest_name_comes_first(store: ModelStore) -> None:
    store.import_file(generator(), "first", unreported)
    store.copy("first", "second")
    assert [row.name for row in store.list()][-1] == "first:latest"


def test_what_is_no_model_is_refused_before_it_is_copied(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "passwords.gguf"
    path.write_bytes(b"root:x:0:0" * 1000)
    with pytest.raises(ModelInvalid, match="no GGUF"):
        store.import_file(path, "tiny", unreported)
    assert not list(store.layout.places.blobs.iterdir())
    assert not store.list()


@pytest.mark.parametrize("name", ["none.gguf", "."])
def test_nothing_to_import_is_an_error_of_the_request(store: ModelStore, tmp_path: Path, name: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidRequest):
        store.import_file(empty / name, "tiny", unreported)


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_the_probe_refuses_has_no_name_and_is_in_quarantine(tmp_path: Path) -> None:
    store = make_store(tmp_path, probe=FakeProbe(fault="its logits are not finite"))
    with pytest.raises(ModelInvalid, match="not finite"):
        store.import_file(generator(), "tiny", unreported)
    assert not store.list()
    reasons = [path.read_text() for path in store.layout.places.quarantine.glob("*.json")]
    assert len(reasons) == 1
    assert "not finite" in reasons[0]
    store.close()


def test_a_model_that_was_let_in_is_not_probed_again_for_a_new_name(tmp_path: Path) -> None:
    probe = FakeProbe()
    store = make_store(tmp_path, probe=probe)
    store.import_file(generator(), "tiny", unreported)
    store.create("brief", "FROM tiny\nSYSTEM be brief\n", unreported)
    assert len(probe.asked) == 1
    store.create(
        "other", 'FROM tiny\nTEMPLATE "{{ messages[0].content }}{% if true %}{% endif %}"\n', unreported
    )
    assert [request.template is None for request in probe.asked] == [True, False]
    store.close()


def test_who_gives_up_while_a_model_is_tried_gets_no_name_and_no_quarantine(tmp_path: Path) -> None:
    """The probe asks by the report whether it is still wanted."""
    store, said = make_store(tmp_path), [0]

    def report(progress: Progress) -> None:
        said[0] += progress.status == VALIDATING
        if said[0] == 2:
            raise ClientGone

    with pytest.raises(ClientGone):
        store.import_file(generator(), "tiny", report)
    assert not store.list()
    assert not list(store.layout.places.quarantine.iterdir())
    store.import_file(generator(), "tiny", unreported)
    assert names(store) == ["tiny:latest"]
    store.close()


def test_a_refusal_never_takes_the_files_of_a_model_that_has_a_name(tmp_path: Path) -> None:
    probe = FakeProbe()
    store = make_store(tmp_path, probe=probe)
    store.import_file(generator(), "tiny", unreported)
    probe.fault = "its template loops"
    with pytest.raises(ModelInvalid):
        store.create("bad", "FROM tiny\nTEMPLATE {% for x in y %}{% endfor %}\n", unreported)
    assert names(store) == ["tiny:latest"]
    assert store.list()[0].broken is None
    store.close()


# ── names ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_removed_name_frees_what_nobody_else_needs(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    store.copy("tiny", "other")
    store.remove("tiny")
    assert store.gc().blobs == 0
    store.remove("OTHER")
    assert store.gc(dry_run=True).blobs == 4
    assert store.gc().size_bytes > generator().stat().st_size
    assert not store.list()


@pytest.mark.parametrize("verb", ["remove", "show", "copy", "export", "push", "verify"])
def test_an_unknown_name_is_told_with_those_there_are(store: ModelStore, tmp_path: Path, verb: str) -> None:
    store.import_file(generator(), "tiny", unreported)
    calls: dict[str, Callable[[], object]] = {
        "remove": lambda: store.remove("none"),
        "show": lambda: store.show("none"),
        "copy": lambda: store.copy("none", "x"),
        "export": lambda: store.export("none", tmp_path / "x.tar", unreported),
        "push": lambda: store.push("none", unreported),
        "verify": lambda: store.verify("none", unreported),
    }
    with pytest.raises(ModelNotFound, match=r"available: tiny:latest"):
        calls[verb]()


def test_a_new_name_takes_no_digest(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    with pytest.raises(InvalidReference, match="no digest"):
        store.copy("tiny", f"x@sha256:{'0' * 64}")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModelStore, Path]]:
    """A store in which nothing is ever changed, and the directory above its own."""
    above = tmp_path_factory.mktemp("untouched")
    store = make_store(above / "data")
    yield store, above
    store.close()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_hostile_name_leaves_a_trace(untouched: tuple[ModelStore, Path], name: str) -> None:
    store, above = untouched
    before = tree(above)
    calls: list[Callable[[], object]] = [
        lambda: store.show(name),
        lambda: store.pull(name, unreported),
        lambda: store.push(name, unreported),
        lambda: store.import_file(generator(), name, unreported),
        lambda: store.import_file(generator(), None, unreported, as_name=name),
        lambda: store.create(name, "FROM x", unreported),
        lambda: store.copy(name, "x"),
        lambda: store.copy("x", name),
        lambda: store.remove(name),
        lambda: store.verify(name, unreported),
    ]
    for call in calls:
        with pytest.raises((InvalidReference, OutboundRefused, ModelNotFound)):
            call()
    assert tree(above) == before


def test_every_change_of_the_models_is_told_before_the_verb_returns(tmp_path: Path) -> None:
    changes = Changes()
    store = make_store(tmp_path, changes=changes)
    counts = []
    calls: list[Callable[[], object]] = [
        lambda: store.import_file(generator(), "a", unreported),
        lambda: store.copy("a", "b"),
        lambda: store.create("c", "FROM a\nSYSTEM x", unreported),
        lambda: store.remove("a"),
        lambda: store.list(),
    ]
    for call in calls:
        call()
        counts.append(changes.count)
    assert counts == [1, 2, 3, 4, 4]
    store.close()


# ── outbound ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["smollm2", "registry.example/a/b", "https://files.example/m.gguf", "127.0.0.1:1/m"]
)
def test_nobody_is_called_that_the_configuration_does_not_name(store: ModelStore, name: str) -> None:
    with pytest.raises(OutboundRefused):
        store.pull(name, unreported)


def test_from_of_an_unknown_name_says_what_there_is_when_nobody_may_be_called(store: ModelStore) -> None:
    with pytest.raises(ModelNotFound, match="none:latest"):
        store.create("x", "FROM none", unreported)


# ── out and in again ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["out.tar", "folder"])
def test_what_was_exported_comes_back_byte_for_byte(tmp_path: Path, target: str) -> None:
    first = make_store(tmp_path / "first")
    first.import_file(generator(), "tiny", unreported)
    first.create("tuned", "FROM tiny\nSYSTEM be brief\nPARAMETER stop END", unreported)
    first.export("tuned", tmp_path / target, unreported)
    second = make_store(tmp_path / "second")
    assert second.import_file(tmp_path / target, None, unreported) == ["tuned:latest"]
    assert second.list()[0].digest == first.list("tuned")[0].digest
    assert second.import_file(tmp_path / target, "renamed:v2", unreported) == ["renamed:v2"]
    first.close()
    second.close()


def test_the_store_is_not_exported_into_itself(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    with pytest.raises(InvalidRequest, match="the store itself"):
        store.export("tiny", store.layout.root, unreported)


# ── health ──────────────────────────────────────────────────────────────────────────────────────────


def damage(store: ModelStore) -> None:
    largest = max(store.layout.places.blobs.iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.unlink()
    largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_flipped_bit_is_found_told_and_repaired_by_an_import(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    damage(store)
    found = store.verify(None, unreported)
    assert [what for what, _ in found.broken] == ["tiny:latest"]
    assert store.list()[0].broken is not None
    with pytest.raises(ModelBroken):
        store.show("tiny")
    assert [spec.broken is not None for spec in store.serve_specs()] == [True]
    store.import_file(generator(), "tiny", unreported)
    assert store.list()[0].broken is None


def test_a_scrub_finds_it_too_and_remembers_its_round(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    assert store.scrub_age_s() is None
    damage(store)
    report = store.scrub_step(1 << 30)
    assert [broken.models[0].display for broken in report.broken] == ["tiny:latest"]
    assert store.scrub_step(1 << 30).round_finished
    age_s = store.scrub_age_s()
    assert age_s is not None
    assert age_s < 60


# ── life ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_has_one_process_and_one_object(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(StoreInUse):
        make_store(tmp_path)


def test_a_halted_store_ends_what_runs_and_refuses_what_comes(store: ModelStore) -> None:
    def halting(_: Progress) -> None:
        store.halt()

    with pytest.raises(ShuttingDown):
        store.import_file(generator(), "tiny", halting)
    with pytest.raises(ShuttingDown):
        store.import_file(generator(), "tiny", unreported)
    assert not store.list()


def test_a_report_that_raises_ends_the_verb(store: ModelStore) -> None:
    class Cancelled(Exception):
        pass

    def cancel(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        store.import_file(generator(), "tiny", cancel)
    assert not store.list()


def test_progress_is_told_in_ollamas_words(store: ModelStore) -> None:
    told = Told()
    store.import_file(generator(), "tiny", told)
    store.create("x", "FROM tiny\nSYSTEM hi", told)
    assert told.statuses[0] == "parsing GGUF"
    assert told.statuses[-1] == "writing manifest"
    assert any(status.startswith("using existing layer sha256:") for status in told.statuses)


@pytest.mark.parametrize("target", ["out.tar", "folder"])
def test_what_moves_is_told_in_the_word_of_its_verb(tmp_path: Path, target: str) -> None:
    out, back = Told(), Told()
    first, second = make_store(tmp_path / "first"), make_store(tmp_path / "second")
    first.import_file(generator(), "tiny", unreported)
    first.export("tiny", tmp_path / target, out)
    second.import_file(tmp_path / target, None, back)
    second.import_file(tmp_path / target, "again", back)
    for told, word in ((out, "exporting"), (back, "importing")):
        assert told.statuses[0] == "reading manifest"
        assert any(re.fullmatch(f"{word} [0-9a-f]{{12}}", status) for status in told.statuses)
        assert not any(status.startswith("pulling") for status in told.statuses)
    first.close()
    second.close()
