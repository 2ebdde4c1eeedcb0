from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.errors import (
    InvalidReference,
    InvalidRequest,
    ModelfileInvalid,
    ModelInvalid,
    ModelNotFound,
    NotAllowed,
    TemplateInvalid,
    Unsupported,
)
from appliance.store.admission import GgufKind
from appliance.store.amend import is_jinja
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor
from appliance.store.digest import digest_of
from appliance.store.local_files import gguf_files, name_for
from appliance.store.sources import Gguf, joined
from appliance.store.store import ModelStore
from tests.fakes import tiny_gguf
from tests.fakes.gguf_corpus import seeds
from tests.fakes.model_files import Told, adapter, generator

GO = "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}{{ end }}<|assistant|>"
JINJA = "{% for message in messages %}{{ message.content }}{% endfor %}"


def weights_of(store: ModelStore, name: str) -> list[Path]:
    return [path for spec in store.serve_specs() if spec.name == name for path in spec.paths]


# ── from ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_of_a_named_one_costs_only_what_is_new(stocked: ModelStore) -> None:
    assert stocked.create("brief", "FROM tiny\nSYSTEM be brief", unreported) == "brief:latest"
    (row,) = stocked.list("brief")
    assert row.unique_bytes < 2000
    assert weights_of(stocked, "brief:latest") == weights_of(stocked, "tiny:latest")


def test_a_path_is_relative_to_the_modelfile(stocked: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "w.gguf").write_bytes(generator(seed=2).read_bytes())
    stocked.create("mine", "FROM ./w.gguf", unreported, base_dir=tmp_path)
    assert stocked.show("mine").listed.architecture == "llama"


def test_a_word_is_a_file_where_there_is_one_and_a_name_elsewhere(
    stocked: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "tiny").write_bytes(generator(seed=2).read_bytes())
    stocked.create("file", "FROM tiny", unreported, base_dir=tmp_path)
    stocked.create("name", "FROM tiny", unreported)
    assert weights_of(stocked, "file:latest") != weights_of(stocked, "tiny:latest")
    assert weights_of(stocked, "name:latest") == weights_of(stocked, "tiny:latest")


@pytest.mark.parametrize("path", ["/etc/hostname", "./w.gguf", "../w.gguf", "~/w.gguf", "/proc/self/mem"])
@pytest.mark.parametrize("instruction", ["FROM", "FROM tiny\nADAPTER", "FROM tiny\nDRAFT"])
def test_another_machine_may_name_no_path(stocked: ModelStore, path: str, instruction: str) -> None:
    with pytest.raises((NotAllowed, ModelfileInvalid), match=r"\(line [12]\)"):
        stocked.create("x", f"{instruction} {path}", unreported)


def test_a_word_of_another_machine_is_never_looked_up_as_a_file(stocked: ModelStore) -> None:
    with pytest.raises(ModelNotFound):
        stocked.create("x", "FROM README.md", unreported)


def test_another_machine_names_blobs_by_digest(stocked: ModelStore) -> None:
    digest = f"sha256:{weights_of(stocked, 'tiny:latest')[0].name}"
    for number, spelt in enumerate((digest, f"@{digest}", digest.replace(":", "-"))):
        stocked.create(f"x{number}", f"FROM {spelt}", unreported)
    assert weights_of(stocked, "x2:latest") == weights_of(stocked, "tiny:latest")


def test_a_digest_that_is_not_there_is_not_found(stocked: ModelStore) -> None:
    with pytest.raises(ModelNotFound):
        stocked.create("x", f"FROM sha256:{'0' * 64}", unreported)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM tiny\nFROM ./w.gguf", "more than one model"),
        ("FROM ./w.gguf\nFROM ./v.gguf", "more than one model"),
        ("FROM ./lora.gguf", "gives no model"),
        ("FROM tiny\nADAPTER ./w.gguf", "no GGUF of one adapter"),
        ("FROM tiny\nADAPTER ./none.gguf", "there is no file"),
        ("FROM tiny\nDRAFT ./lora.gguf", "no GGUF of one model"),
        ("FROM ..bad..", "FROM:"),
    ],
)
def test_what_makes_no_model_is_refused(stocked: ModelStore, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "w.gguf").write_bytes(generator(seed=2).read_bytes())
    (tmp_path / "v.gguf").write_bytes(generator(seed=3).read_bytes())
    (tmp_path / "lora.gguf").write_bytes(adapter().read_bytes())
    with pytest.raises(ModelfileInvalid, match=told):
        stocked.create("x", text, unreported, base_dir=tmp_path)
    assert len(stocked.list()) == 1


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        ("ADAPTER ./w.gguf", "no GGUF of one adapter"),
        ("ADAPTER ./page.gguf", "it is no GGUF file"),
        ("DRAFT ./lora.gguf", "no GGUF of one model"),
        ("DRAFT ./parts", "a split GGUF cannot be a draft model"),
    ],
)
def test_a_companion_of_another_kind_is_refused_before_a_byte_is_copied(
    stocked: ModelStore, tmp_path: Path, second: str, refused: str
) -> None:
    (tmp_path / "w.gguf").write_bytes(generator(seed=2).read_bytes())
    (tmp_path / "lora.gguf").write_bytes(adapter().read_bytes())
    (tmp_path / "page.gguf").write_bytes(b"<html>" * 100)
    (tmp_path / "parts").mkdir()
    seeds.write_split(tmp_path / "parts")
    blobs = set(stocked.layout.places.blobs.iterdir())
    with pytest.raises((ModelfileInvalid, ModelInvalid, Unsupported), match=refused):
        stocked.create("x", f"FROM ./w.gguf\n{second}", unreported, base_dir=tmp_path)
    assert set(stocked.layout.places.blobs.iterdir()) == blobs


def test_an_adapter_and_a_draft_become_part_of_the_model(stocked: ModelStore) -> None:
    stocked.create(
        "legal", f"FROM tiny\nADAPTER {adapter()}\nDRAFT {generator(seed=5)}", unreported, base_dir=Path("/")
    )
    (spec,) = [spec for spec in stocked.serve_specs() if spec.name == "legal:latest"]
    assert len(spec.adapters) == 1
    assert spec.draft is not None
    assert stocked.show("legal").modelfile.count("sha256:") == 3


@pytest.mark.parametrize("draft", ["./w.gguf", "w.gguf", "./dir/../w.gguf", "link.gguf", "copy.gguf"])
def test_a_draft_is_not_the_base_under_another_spelling(
    stocked: ModelStore, tmp_path: Path, draft: str
) -> None:
    (tmp_path / "dir").mkdir()
    for name in ("w.gguf", "copy.gguf"):
        (tmp_path / name).write_bytes(generator(seed=2).read_bytes())
    (tmp_path / "link.gguf").symlink_to("w.gguf")
    with pytest.raises(ModelfileInvalid, match=r"\(line 2\): DRAFT is the same file as FROM"):
        stocked.create("x", f"FROM {tmp_path}/w.gguf\nDRAFT {draft}", unreported, base_dir=tmp_path)
    assert len(stocked.list()) == 1


def test_a_directory_gives_its_only_gguf(stocked: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/w.gguf").write_bytes(generator(seed=2).read_bytes())
    (tmp_path / "dir/README.md").write_text("hello")
    stocked.create("mine", "FROM ./dir", unreported, base_dir=tmp_path)
    assert len(weights_of(stocked, "mine:latest")) == 1


# ── the rest of a Modelfile ─────────────────────────────────────────────────────────────────────────


def test_instructions_replace_and_licences_add_up(stocked: ModelStore) -> None:
    stocked.create(
        "a",
        "FROM tiny\nSYSTEM one\nPARAMETER temperature 0.5\nPARAMETER stop A\nLICENSE first\n"
        "MESSAGE user hi\nMESSAGE assistant hello",
        unreported,
    )
    stocked.create("b", "FROM a\nSYSTEM two\nPARAMETER stop B\nLICENSE second", unreported)
    shown = stocked.show("b")
    assert shown.system == "two"
    assert shown.parameters == {"temperature": 0.5, "stop": ("B",)}
    assert shown.licences == ("first", "second")
    assert shown.messages == (("user", "hi"), ("assistant", "hello"))


def test_an_empty_text_takes_away_what_the_base_has(stocked: ModelStore) -> None:
    stocked.create("a", f"FROM tiny\nSYSTEM one\nTEMPLATE {JINJA}", unreported)
    stocked.create("b", 'FROM a\nSYSTEM ""\nTEMPLATE ""', unreported)
    assert stocked.show("b").system is None
    assert stocked.show("b").template == tiny_gguf.CHATML


def test_the_modelfile_that_show_prints_makes_the_same_model(stocked: ModelStore) -> None:
    stocked.create(
        "a", f'FROM tiny\nSYSTEM """two\nlines"""\nTEMPLATE {JINJA}\nPARAMETER top_k 3\nLICENSE x', unreported
    )
    stocked.create("b", stocked.show("a").modelfile, unreported)
    first, second = stocked.show("a"), stocked.show("b")
    assert (first.system, first.template, first.parameters) == (
        second.system,
        second.template,
        second.parameters,
    )
    assert weights_of(stocked, "a:latest") == weights_of(stocked, "b:latest")


def test_jinja_is_kept_and_go_is_converted(stocked: ModelStore) -> None:
    stocked.create("jinja", f"FROM tiny\nTEMPLATE {JINJA}", unreported)
    stocked.create("go", f'FROM tiny\nTEMPLATE """{GO}"""', unreported)
    assert stocked.show("jinja").template == JINJA
    converted = stocked.show("go").template
    assert converted is not None
    assert "{%" in converted


def test_go_that_cannot_be_converted_is_refused(stocked: ModelStore) -> None:
    with pytest.raises(TemplateInvalid):
        stocked.create("x", "FROM tiny\nTEMPLATE {{ call .Function }}", unreported)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GO, False),
        (JINJA, True),
        ("{{ .Prompt }}", False),
        ("{{- if .System }}x{{ end }}", False),
        ("{{ messages[0].content }}", True),
        ("{{- bos_token }}{% if x %}{% endif %}", True),
        ("{# only a comment #}", True),
        ("plain text", False),
        ("{{/* go comment */}}", False),
        ("{{ $x := .Messages }}", False),
    ],
)
def test_the_two_template_languages_are_told_apart(text: str, expected: bool) -> None:
    assert is_jinja(text) is expected


def test_what_has_no_effect_is_told(stocked: ModelStore) -> None:
    told = Told()
    stocked.create("x", "FROM tiny\nPARAMETER num_keep 4", told)
    assert any(status.startswith("warning: parameter 'num_keep'") for status in told.statuses)


def test_a_bad_modelfile_names_its_line(stocked: ModelStore) -> None:
    with pytest.raises(ModelfileInvalid, match=r"\(line 2\)"):
        stocked.create("x", "FROM tiny\nPARAMETER nonsense 1", unreported)


# ── quantising ──────────────────────────────────────────────────────────────────────────────────────


def split(directory: Path, numbers: Sequence[int] = (1, 2, 3)) -> list[Path]:
    paths = [directory / f"m-{number:05d}-of-00003.gguf" for number in numbers]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def test_one_part_of_a_split_model_stands_for_all(tmp_path: Path) -> None:
    paths = split(tmp_path)
    assert gguf_files(paths[1]) == [tuple(paths)]
    assert gguf_files(tmp_path) == [tuple(paths)]


def test_a_split_model_with_a_part_missing_is_refused(tmp_path: Path) -> None:
    split(tmp_path, (1, 3))
    with pytest.raises(InvalidRequest, match="3 parts, of which 2 are there"):
        gguf_files(tmp_path)


def test_a_link_that_leads_out_of_its_directory_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.gguf").write_bytes(b"x")
    (inside / "m.gguf").symlink_to(tmp_path / "secret.gguf")
    with pytest.raises(InvalidRequest, match="leads out"):
        gguf_files(inside)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_other_formats_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(Unsupported, match="GGUF"):
        gguf_files(tmp_path)
    with pytest.raises(Unsupported, match="GGUF"):
        gguf_files(tmp_path / name)


def test_what_is_neither_file_nor_directory_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="neither"):
        gguf_files(Path("/dev/null"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct-Q4_1.gguf", "smollm2-135m-instruct-q4_1:latest"),
        ("m-00001-of-00003.gguf", "m:latest"),
        ("a  b (1).gguf", "a-b-1:latest"),
        ("..--x__.y.gguf", "x-y:latest"),
        ("ü.ö-z.gguf", "z:latest"),
        ("x" * 300 + ".gguf", "x" * 80 + ":latest"),
    ],
)
def test_a_file_name_becomes_a_name(file: str, name: str) -> None:
    assert name_for(file).display == name


@pytest.mark.parametrize("file", ["日本.gguf", ".gguf", "---.gguf", "_.GGUF"])
def test_a_file_name_that_gives_none_asks_for_one(stocked: ModelStore, tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.write_bytes(generator(seed=2).read_bytes())
    with pytest.raises(InvalidReference, match="give the model a NAME of its own") as caught:
        stocked.import_file(path, None, unreported)
    assert repr(file) in caught.value.message
    assert stocked.import_file(path, "nihon", unreported) == ["nihon:latest"]


def test_a_split_model_is_one_model_and_its_modelfile_says_so(stocked: ModelStore, tmp_path: Path) -> None:
    paths = seeds.write_split(tmp_path)
    assert stocked.import_file(paths[1], None, unreported) == ["big:latest"]
    whole = weights_of(stocked, "big:latest")
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in paths]
    assert len(stocked.show("big").tensors) == len(seeds.generator().tensors)
    stocked.create("again", stocked.show("big").modelfile, unreported)
    assert weights_of(stocked, "again:latest") == whole


def part(number: int | None) -> Gguf:
    blob = Descriptor(media_type="x/y", digest=digest_of(str(number).encode()), size=1)
    return Gguf(kind=GgufKind.MODEL, blobs=(blob,), split=number)


def test_parts_named_one_by_one_become_one_model_in_order() -> None:
    whole = part(None)
    found = joined([part(2), whole, part(0), part(1)])
    assert found[0] == whole
    assert found[1].blobs == (*part(0).blobs, *part(1).blobs, *part(2).blobs)
    assert joined([whole]) == (whole,)
