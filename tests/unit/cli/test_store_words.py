"""What the store's commands print, from what the daemon tells."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import declaring, gc, listing, show
from appliance.cli.address import Target, discover_store, is_this_machine
from appliance.cli.create import read_modelfile
from appliance.cli.exits import Exit, Failure
from appliance.cli.local_door import LocalDoor
from appliance.cli.main import _MODULES
from appliance.cli.parser import build, parse
from appliance.cli.terminal import ago
from appliance.errors import InsufficientSpace
from appliance.store.answers import collected_object, listed_object, shown_object
from appliance.store.kept import PROTECTED_S, Kept
from appliance.store.operations import Copy, Export, Import, Pull, Remove, Verify
from appliance.store.verbs import Collected
from tests.fakes.fake_store_verbs import TINY, FakeStoreVerbs
from tests.fakes.fake_store_verbs import shown as shown_model
from tests.fakes.hostile_names import HOSTILE_NAMES

MODEL: dict[str, Any] = shown_object(shown_model())


def parsed(*argv: str) -> argparse.Namespace:
    into = argparse.Namespace()
    parse(argv, into)
    return into


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute ago"),
        (-5, "less than a minute ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86400, "1 day ago"),
        (10 * 86400, "10 days ago"),
        (21 * 86400, "3 weeks ago"),
        (45 * 86400, "6 weeks ago"),
        (70 * 86400, "2 months ago"),
        (400 * 86400, "13 months ago"),
        (800 * 86400, "2 years ago"),
    ],
)
def test_ages_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_the_list_is_a_table_as_ollama_has_it() -> None:
    models = [listed_object(TINY), {**listed_object(TINY), "name": "b:v1", "broken": "blob is zeroed"}]
    assert listing.table(models, now_s=1_000_000 + 7200).splitlines() == [
        "NAME          ID             SIZE     UNIQUE   MODIFIED",
        f"tiny:latest   {TINY.id}   2.0 GB   1.0 kB   2 hours ago",
        f"b:v1          {TINY.id}   2.0 GB   1.0 kB   broken",
        "b:v1: blob is zeroed",
    ]


def test_show_has_sections_with_what_there_is() -> None:
    assert show.overview(MODEL, verbose=False).splitlines() == [
        "  Model",
        "    name                tiny:latest",
        f"    digest              {TINY.id}",
        "    architecture        llama",
        "    parameters          135M",
        "    context length      8192",
        "    embedding length    576",
        "    quantization        Q4_1",
        "    size                2.0 GB",
        "",
        "  Capabilities",
        "    completion",
        "    tools",
        "",
        "  Parameters",
        "    temperature    0.5",
        '    stop           "<end>"',
        '    stop           "</s>"',
        "",
        "  Template",
        "    from the GGUF",
        "",
        "  System",
        "    You are kind.",
        "",
        "  License",
        "    Apache",
        "    Licence",
        "    ...",
    ]


def test_show_verbose_adds_metadata_and_tensors() -> None:
    told = show.overview(MODEL, verbose=True)
    assert "  Metadata\n" in told
    assert "llama.block_count" in told
    assert "    token_embd.weight    Q4_1    [576 49152]" in told


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("license", "Apache\nLicence\nVersion 2\nText"),
        ("modelfile", "FROM tiny\nPARAMETER stop <end>"),
        ("system", "You are kind."),
        ("template", "{{ messages }}"),
        ("parameters", 'temperature                    0.5\nstop                           "<end>"\n'),
        ("metadata", "llama.block_count                        30"),
        ("tensors", "token_embd.weight                        Q4_1     [576 49152]"),
    ],
)
def test_every_selector_prints_one_part(selector: str, text: str) -> None:
    assert text in show.SELECTORS[selector](MODEL)
    assert getattr(parsed("show", "tiny", f"--{selector}"), selector)


def test_one_selector_at_a_time() -> None:
    with pytest.raises(Failure) as caught:
        parsed("show", "tiny", "--license", "--system")
    assert caught.value.exit_code is Exit.USAGE


def test_ls_is_list() -> None:
    assert parse(["ls", "smol"], into := argparse.Namespace()) == "list"
    assert into.prefix == "smol"


def test_every_command_has_its_module() -> None:
    assert set(build()[1]) == set(_MODULES)


# ── where the store is ──────────────────────────────────────────────────────────────────────────────────────


def record(directory: Path, pid: int = 1) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "daemon.json").write_text(f'{{"address": "127.0.0.1:7", "pid": {pid}}}')
    return directory


def found(tmp_path: Path, **told: Any) -> Target | Path:
    asked = {"host": None, "data": None, "environ": {}, "alive": lambda pid: pid == 1, **told}
    return discover_store(defaults=(tmp_path / "a", tmp_path / "b"), **asked)


def test_a_daemon_in_the_named_directory_is_asked(tmp_path: Path) -> None:
    directory = record(tmp_path / "x")
    assert found(tmp_path, data=directory) == Target("http://127.0.0.1:7", str(directory / "daemon.json"))


def test_a_named_directory_without_a_living_daemon_is_opened(tmp_path: Path) -> None:
    assert found(tmp_path, data=record(tmp_path / "x", pid=2)) == tmp_path / "x"


def test_a_host_is_asked_whatever_is_on_this_machine(tmp_path: Path) -> None:
    told = found(tmp_path, host="board:1", data=record(tmp_path / "x"))
    assert told == Target("http://board:1", "--host")
    assert found(tmp_path, environ={"OUTPOST_HOST": "board:2"}) == Target("http://board:2", "OUTPOST_HOST")


def test_a_default_store_is_opened_when_no_daemon_runs(tmp_path: Path) -> None:
    (tmp_path / "b" / "store").mkdir(parents=True)
    assert found(tmp_path) == tmp_path / "b"
    record(tmp_path / "a")
    assert isinstance(found(tmp_path), Target)


def test_without_anything_the_default_address_is_asked(tmp_path: Path) -> None:
    assert found(tmp_path) == Target("http://127.0.0.1:11434", "the default address")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://192.168.1.2:1", False),
        ("https://localhost.example", False),
    ],
)
def test_files_are_named_only_to_this_machine(url: str, expected: bool) -> None:
    assert is_this_machine(url) is expected


# ── without a daemon ────────────────────────────────────────────────────────────────────────────────────────


def test_the_store_itself_tells_the_same_as_the_daemon() -> None:
    lines: list[dict[str, Any]] = []
    door = LocalDoor(FakeStoreVerbs())
    assert door.perform(Pull(name="other"), lines.append) == {"name": "other:latest"}
    assert lines[0] == {"status": "pulling manifest"}
    assert door.list("ti") == [listed_object(TINY)]
    assert door.show("tiny") == MODEL


def test_its_errors_are_failures_with_the_daemons_codes() -> None:
    fault = InsufficientSpace(needed_bytes=2, available_bytes=1, floor_bytes=0, directory="d")
    with pytest.raises(Failure) as caught:
        LocalDoor(FakeStoreVerbs(fault=fault)).perform(Pull(name="a"), lambda _: None)
    assert (caught.value.exit_code, caught.value.code) == (Exit.DISK, "insufficient_space")
    with pytest.raises(Failure) as missing:
        LocalDoor(FakeStoreVerbs()).show("none")
    assert (missing.value.exit_code, missing.value.code) == (Exit.NO_INPUT, "model_not_found")
    assert "outpost pull" in missing.value.message


@pytest.mark.parametrize("hostile", HOSTILE_NAMES, ids=ascii)
def test_a_hostile_name_is_wrong_data_for_every_verb(hostile: str) -> None:
    door = LocalDoor(FakeStoreVerbs())
    for operation in (
        Pull(name=hostile),
        Import(path="/a/b.gguf", name=hostile),
        Import(path="/a", name="b", as_name=hostile),
        Export(name=hostile, path="/a"),
        Copy(source="tiny", destination=hostile),
        Copy(source=hostile, destination="b"),
        Remove(name=hostile),
        Verify(name=hostile),
    ):
        with pytest.raises(Failure) as caught:
            door.perform(operation, lambda _: None)
        assert caught.value.exit_code is Exit.DATA


# ── Modelfiles ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_modelfile_is_read_in_the_encodings_of_editors(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "Modelfile"
    path.write_text("FROM tiny\nSYSTEM Grüße\n", encoding=encoding)
    assert read_modelfile(path) == ("FROM tiny\nSYSTEM Grüße\n", tmp_path)


def test_what_is_no_modelfile_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure) as missing:
        read_modelfile(tmp_path / "none")
    assert missing.value.exit_code is Exit.NO_INPUT
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    (tmp_path / "binary").write_bytes(b"FROM \xff\xff")
    for name in ("large", "binary"):
        with pytest.raises(Failure) as wrong:
            read_modelfile(tmp_path / name)
        assert wrong.value.exit_code is Exit.DATA


# ── what a collection left ──────────────────────────────────────────────────────────────────────────────────

YOUNG = Kept(blobs=3, size_bytes=98_000_000, first_in_s=3480.0, last_in_s=3490.04)


def told_of(collected: Collected) -> list[str]:
    return list(gc.lines({**collected_object(collected), "dry_run": False}))


def test_a_collection_that_leaves_nothing_says_one_line() -> None:
    assert told_of(Collected(blobs=1, size_bytes=3_000_000)) == ["freed 3.0 MB in 1 blob"]


def test_a_collection_says_what_is_too_young_and_when_it_can_go() -> None:
    assert told_of(Collected(blobs=0, size_bytes=0, young=YOUNG)) == [
        "freed 0 B in 0 blobs",
        "kept 98 MB in 3 blobs that came less than 1h00m ago: it can go in 58m10s",
        "to free it now: outpost gc --grace 0",
    ]
    apart = replace(YOUNG, first_in_s=60.0)
    assert told_of(Collected(blobs=0, size_bytes=0, young=apart))[1].endswith(
        "the first of it can go in 1m00s, the last in 58m10s"
    )


def test_a_collection_says_what_is_at_work() -> None:
    collected = Collected(blobs=0, size_bytes=0, at_work=Kept(blobs=1, size_bytes=2_000_000_000))
    assert told_of(collected)[1:] == ["kept 2.0 GB in 1 blob in use or arriving"]


def test_the_grace_is_at_most_an_hour() -> None:
    assert declaring.MOST_GRACE_S == PROTECTED_S
    assert parsed("gc", "--grace", "0").grace == 0
    assert parsed("gc").grace is None
    for wrong in ("3601", "-1", "nan", "1h"):
        with pytest.raises(Failure) as caught:
            parsed("gc", f"--grace={wrong}")
        assert caught.value.exit_code is Exit.USAGE
