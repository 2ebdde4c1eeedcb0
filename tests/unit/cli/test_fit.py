from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import fit, fit_model, fit_settings
from appliance.cli.exits import Exit, Failure
from appliance.cli.fit import main
from appliance.cli.fit_settings import FitSettings, NamedModel
from appliance.cli.own_fit import machine_of
from appliance.cli.parser import parse
from appliance.config import DEFAULT_PATH, Config
from appliance.errors import InvalidRequest
from appliance.planner.budget import Bound
from appliance.planner.fit import Policy
from appliance.store.layout import Layout
from appliance.store.places import FOLDER
from appliance.store.reference import parse_reference
from tests.fakes.model_files import UnsyncedFiles, generator
from tests.fakes.stored_models import store_model

MIB = 1 << 20
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": "sha256:" + "1" * 64,
        "size": 10,
    },
    "layers": [
        {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": "sha256:" + "2" * 64,
            "size": 4_900_000_000,
        },
        {
            "mediaType": "application/vnd.ollama.image.projector",
            "digest": "sha256:" + "3" * 64,
            "size": 600_000_000,
        },
    ],
}
BOARD = """
[memory]
total_kib = 8_000_000
available_kib = 7_500_000
bandwidth_bytes_per_s = 100_000_000_000
"""
TINY_BOARD = "[memory]\ntotal_kib = 100_000\navailable_kib = 60_000\n"


@pytest.fixture(autouse=True)
def _no_cache_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def board(tmp_path: Path) -> str:
    path = tmp_path / "board.toml"
    path.write_text(BOARD, encoding="utf-8")
    return str(path)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(MANIFEST), encoding="utf-8")
    return path


def asked(*argv: str) -> argparse.Namespace:
    into = argparse.Namespace()
    parse(("fit", *argv), into)
    return into


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any], str]:
    code = main(asked(*argv, "--json"))
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_a_gguf_is_told_as_a_plan_with_every_part(capsys: pytest.CaptureFixture[str], board: str) -> None:
    assert main(asked(str(generator()), "--board", board, "--ctx", "1024", "--parallel", "2")) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{generator().name} fits on {board}"
    names = [line[:14].strip() for line in lines[2:] if line]
    assert names == [
        *("weights", "KV cache", "compute", "logits", "copies", "process", "total", "budget"),
        *("gives up", "speed", "sizes from"),
    ]
    assert "1024 tokens x 2 at once, f16, when all are used" in lines[3]
    assert lines[9].endswith("MemAvailable 7.7 GB less 655 MB that stay free for others, of 8.2 GB")
    assert lines[11].split() == ["gives", "up", "nothing"]


def test_the_same_as_json_has_the_placement_and_the_bytes(
    capsys: pytest.CaptureFixture[str], board: str
) -> None:
    code, answer, err = told(capsys, str(generator()), "--board", board, "--ctx", "1024", "--parallel", "2")
    assert (code, err, answer["fits"], answer["is_guess"]) == (0, "", True, False)
    plan = answer["plan"]
    assert (plan["placement"]["n_ctx_seq"], plan["placement"]["n_seq_max"]) == (1024, 2)
    assert (plan["placement"]["type_k"], plan["placement"]["n_gpu_layers"]) == ("f16", 0)
    parts = {key: value for key, value in plan["footprint"].items() if key.endswith("_bytes")}
    total = parts.pop("total_bytes")
    assert total == sum(value for key, value in parts.items() if key != "device_bytes")
    assert answer["budget"]["bytes"] == 7_500_000 * 1024 - 8_000_000 * 1024 * 8 // 100
    assert (plan["conceded"], plan["worth"]) == ([], 1.0)


def test_what_does_not_fit_ends_with_69_and_the_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = tmp_path / "small.toml"
    small.write_text(TINY_BOARD, encoding="utf-8")
    code, answer, err = told(capsys, str(generator()), "--board", str(small))
    assert (code, answer["fits"], answer["plan"]) == (69, False, None)
    error = answer["error"]
    assert (error["code"], error["exit"]) == ("insufficient_memory", 69)
    assert error["needed_bytes"] == answer["least"]["footprint"]["total_bytes"]
    assert error["available_bytes"] == answer["budget"]["bytes"] < error["needed_bytes"]
    assert err == f"outpost: {error['message']}\n"


def test_in_words_the_least_that_is_asked_for_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = tmp_path / "small.toml"
    small.write_text(TINY_BOARD, encoding="utf-8")
    assert main(asked(str(generator()), "--board", str(small))) == 69
    out, err = capsys.readouterr()
    assert out.startswith(f"{generator().name} does not fit; the least that is asked for on ")
    assert err.startswith(f"outpost: model '{generator().name}' needs ")


def test_of_a_manifest_the_sizes_are_taken_and_the_rest_is_guessed(
    capsys: pytest.CaptureFixture[str], manifest: Path, board: str
) -> None:
    code, answer, _ = told(capsys, str(manifest), "--board", board)
    assert (code, answer["fits"], answer["is_guess"]) == (0, True, True)
    assert answer["plan"]["footprint"]["weights_bytes"] == 4_900_000_000
    assert answer["notes"] == ["its projector is stored, but not served yet: it is not counted"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 5000, b"\xff", json.dumps({**MANIFEST, "layers": []}).encode(), b"x" * (5 << 20)],
    ids=["empty", "no manifest", "deep", "no text", "no weights", "too long"],
)
def test_what_is_no_manifest_is_refused(content: bytes, tmp_path: Path, board: str) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        main(asked(str(path), "--board", board))
    assert caught.value.exit_code == Exit.DATA


def test_a_file_that_is_cut_off_behind_its_header_will_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, board: str
) -> None:
    whole = generator().read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])
    full = told(capsys, str(generator()), "--board", board)[1]
    assert told(capsys, str(cut), "--board", board)[1]["plan"] == full["plan"]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no gguf at all", b"GGUF" + b"\xff" * 500])
def test_what_is_no_gguf_is_refused(content: bytes, tmp_path: Path, board: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        main(asked(str(path), "--board", board))
    assert (caught.value.exit_code, caught.value.code) == (Exit.DATA, "model_invalid")


@pytest.mark.parametrize("name", ["nothing", "", "~nobody-at-all/x", "x" * 5000, "a\0b", "../.."])
def test_a_name_of_nothing_is_no_such_model(name: str, tmp_path: Path, board: str) -> None:
    with pytest.raises(Failure) as caught:
        main(asked(name, "--board", board, "--data", str(tmp_path)))
    assert caught.value.exit_code == Exit.NO_INPUT


def test_a_file_that_is_not_there_is_no_name(tmp_path: Path, board: str) -> None:
    with pytest.raises(Failure, match="no such file") as caught:
        main(asked(str(tmp_path / "x.gguf"), "--board", board))
    assert caught.value.exit_code == Exit.NO_INPUT


# ── the store ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose store has the model `tiny`, and which nobody has open."""
    with Layout(tmp_path / "data" / FOLDER, files=UnsyncedFiles(), floor_fraction=0.0) as layout:
        store_model(layout, "tiny", generator())
    return tmp_path / "data"


def test_a_stored_model_is_as_its_file(capsys: pytest.CaptureFixture[str], data: Path, board: str) -> None:
    stored = told(capsys, "tiny", "--board", board, "--data", str(data))[1]
    assert (stored["model"], stored["is_guess"]) == ("tiny:latest", False)
    assert stored["plan"] == told(capsys, str(generator()), "--board", board)[1]["plan"]


def test_the_store_is_read_beside_who_has_it_open(
    capsys: pytest.CaptureFixture[str], data: Path, board: str
) -> None:
    with Layout(data / FOLDER, files=UnsyncedFiles(), floor_fraction=0.0):
        assert told(capsys, "tiny", "--board", board, "--data", str(data))[0] == 0


def test_a_stored_model_whose_bytes_are_missing_is_guessed_from_its_manifest(
    capsys: pytest.CaptureFixture[str], data: Path, board: str
) -> None:
    largest = max((data / FOLDER / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    size = largest.stat().st_size
    largest.unlink()
    code, answer, _ = told(capsys, "tiny", "--board", board, "--data", str(data))
    assert (code, answer["is_guess"]) == (0, True)
    assert answer["plan"]["footprint"]["weights_bytes"] == size


def test_a_name_that_the_store_does_not_have_lists_those_it_has(data: Path, board: str) -> None:
    with pytest.raises(Failure, match="model 'other:latest' not found; available: tiny:latest") as caught:
        main(asked("other", "--board", board, "--data", str(data)))
    assert caught.value.exit_code == Exit.NO_INPUT


def test_a_model_of_the_configuration_is_found_by_its_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, board: str
) -> None:
    config = tmp_path / "outpost.toml"
    config.write_text(f'[models]\nmine = {{ path = "{generator()}", n_ctx_seq = 512 }}\n', encoding="utf-8")
    answer = told(capsys, "mine", "--board", board, "--config", str(config))[1]
    assert answer["plan"]["placement"]["n_ctx_seq"] == 512


def test_what_is_copied_here_to_load_nothing_is_what_the_store_has() -> None:
    assert fit_model._STORE == FOLDER
    assert parse_reference("tiny").display == "tiny:latest"


# ── this machine, and policy ────────────────────────────────────────────────────────────────────────────────


def test_this_machine_is_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 7340032 kB\n")
    machine = machine_of(None, FitSettings(reserve_bytes=MIB), tmp_path)
    assert (machine.name, machine.budget.bound) == (None, Bound.MEM_AVAILABLE)
    assert machine.budget.bytes == 7340032 * 1024 - MIB


def test_a_cgroup_bounds_this_machine_and_its_cache_of_files_does_not_count(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/outpost"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 7340032 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/outpost\n")
    (group / "memory.max").write_text(f"{1024 * MIB}\n")
    (group / "memory.current").write_text(f"{300 * MIB}\n")
    (group / "memory.stat").write_text(f"inactive_file {200 * MIB}\nactive_file 0\n")
    machine = machine_of(None, FitSettings(reserve_bytes=MIB), tmp_path)
    assert (machine.budget.bound, machine.budget.bytes) == (Bound.CGROUP, (1024 - 100 - 1) * MIB)


def test_a_machine_that_does_not_tell_its_memory_asks_for_a_board(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="--board: this machine does not tell its memory"):
        machine_of(None, FitSettings(), tmp_path)


def test_what_is_taken_without_a_configuration_is_what_one_without_a_line_says() -> None:
    assert fit_settings.of(Config()) == FitSettings()
    assert fit_settings.DEFAULT_PATH == DEFAULT_PATH


def test_what_bears_on_it_is_taken_from_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "outpost.toml"
    path.write_text(
        f"""
[engine]
n_ctx_seq = 512
n_seq_max = 3
type_k = "q8_0"
type_v = "q8_0"
device = "cpu"
own_kernels = false
speculation = false
[memory]
min_ctx = 256
comfortable_slots = 2
parallel_share = 0.25
reserve_bytes = {MIB}
[models]
a = "{generator()}"
b = {{ path = "{generator()}", n_ctx_seq = 7, draft = "{generator()}" }}
""",
        encoding="utf-8",
    )
    told = fit_settings.fit_settings(path)
    placement = told.placement
    assert (placement.n_ctx_seq, placement.n_seq_max, placement.type_k) == (512, 3, "q8_0")
    assert (told.device, told.own_kernels, told.speculation, told.reserve_bytes) == (
        "cpu",
        False,
        False,
        MIB,
    )
    assert told.policy == Policy(min_ctx=256, comfortable=2, parallel_share=0.25)
    assert told.models == {
        "a": NamedModel(path=generator(), n_ctx_seq=None, has_draft=False),
        "b": NamedModel(path=generator(), n_ctx_seq=7, has_draft=True),
    }


def test_a_configuration_that_is_not_there_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such file"):
        main(asked("x", "--config", str(tmp_path / "none.toml")))


# ── who answers ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("argv", "is_ours"),
    [
        (["tiny"], False),
        (["tiny", "--data", "d"], False),
        (["tiny", "--board", "pi-5-8gb"], True),
        (["tiny", "--config", "c.toml"], True),
        (["nothing.gguf"], True),
        (["nothing.json"], True),
        ([str(generator())], True),
        (["a\0b"], False),
        (["x" * 5000], False),
        (["~nobody-at-all/x"], False),
    ],
)
def test_what_no_daemon_knows_is_answered_here(argv: list[str], is_ours: bool) -> None:
    assert fit._is_ours(asked(*argv)) is is_ours
