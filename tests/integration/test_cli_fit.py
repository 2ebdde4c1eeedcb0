"""`outpost fit` as a program: beside a daemon that has the store open, and alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.store.layout import Layout
from appliance.store.places import FOLDER
from tests.fakes.fake_daemon import FakeDaemon
from tests.fakes.model_files import UnsyncedFiles
from tests.fakes.stored_models import store_model
from tests.integration.command_line import HEAVY, SLOW, environment, loaded_modules, one_line, outpost, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def fit(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("fit", *arguments, env=environment(home), cwd=home)


def answer(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


def test_a_model_is_told_to_fit_and_the_second_time_from_what_was_kept(
    tmp_path: Path, tiny_model: Path
) -> None:
    first = answer(fit(tmp_path, str(tiny_model), "--board", "pi-5-8gb", "--json"))
    assert (first["fits"], first["board"]) == (True, "Raspberry Pi 5 8 GB")
    second = answer(fit(tmp_path, str(tiny_model), "--board", "pi-5-8gb", "--json"))
    assert second["plan"] == first["plan"]
    assert list(tmp_path.glob("**/outpost/shapes/*.json"))


def test_it_answers_for_this_machine_in_words(tmp_path: Path, tiny_model: Path) -> None:
    done = fit(tmp_path, str(tiny_model), "--ctx", "256", "--parallel", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tiny_model.name} fits here\n")
    assert "MemAvailable" in done.stdout


def test_the_store_is_read_beside_a_process_that_has_it_open(tmp_path: Path, tiny_model: Path) -> None:
    with Layout(tmp_path / "data" / FOLDER, files=UnsyncedFiles(), floor_fraction=0.0) as layout:
        store_model(layout, "tiny", tiny_model)
        before = sorted((tmp_path / "data").rglob("*"))
        told = answer(fit(tmp_path, "tiny", "--data", "data", "--board", "orin-nano-8gb", "--json"))
        assert sorted((tmp_path / "data").rglob("*")) == before
    assert (told["model"], told["fits"]) == ("tiny:latest", True)
    assert told["plan"]["placement"]["n_gpu_layers"] == -1


def test_what_does_not_fit_is_69_with_the_numbers_in_one_line(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "b.toml").write_text("[memory]\ntotal_kib = 90_000\navailable_kib = 50_000\n")
    done = fit(tmp_path, str(tiny_model), "--board", "./b.toml", "--json")
    told = answer(done, 69)
    assert told["error"]["needed_bytes"] > told["error"]["available_bytes"] > 0
    assert "are available; no context, however short, would fit" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nothing"], 66),
        (["x.gguf"], 66),
        (["nothing", "--board", "toaster"], 65),
        (["nothing", "--ctx", "-1"], 64),
        (["nothing", "--min-ctx", "0"], 64),
        ([], 64),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_a_code(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    done = fit(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert one_line(done.stderr)


def test_more_context_than_the_model_was_made_for_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    done = fit(tmp_path, str(tiny_model), "--min-ctx", "1000000")
    assert done.returncode == 65
    assert "was made for" in one_line(done.stderr)


# ── asked of a daemon ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def told_fit(tmp_path: Path, tiny_model: Path) -> dict[str, Any]:
    """An answer as this version gives it."""
    return answer(fit(tmp_path, str(tiny_model), "--json")) | {"model": "tiny", "evicts": ["other"]}


def test_a_daemon_that_runs_is_asked_with_the_wishes_and_told_as_it_says(
    tmp_path: Path, daemon: FakeDaemon, told_fit: dict[str, Any]
) -> None:
    daemon.script.fit = told_fit
    wishes = ("--ctx", "0", "--parallel", "3", "--min-ctx", "7")
    assert answer(outpost(daemon, tmp_path, "fit", "tiny", *wishes, "--json")) == told_fit
    wished = {"model": "tiny", "n_ctx_seq": 0, "n_parallel": 3, "min_ctx": 7}
    assert daemon.requests == [wished]
    done = outpost(daemon, tmp_path, "fit", "tiny")
    assert daemon.requests[1:] == [{"model": "tiny"}]
    assert done.stdout.splitlines()[0] == "tiny fits, with concessions, here once idle models have gone"
    assert "other (idle)" in done.stdout


def test_a_refusal_of_the_daemon_is_69_and_its_sentence(
    tmp_path: Path, daemon: FakeDaemon, told_fit: dict[str, Any]
) -> None:
    error = {"message": "model 'tiny' needs 9 GB", "code": "insufficient_memory", "needed_bytes": 9}
    daemon.script.fit = told_fit | {"fits": False, "plan": None, "error": error}
    done = outpost(daemon, tmp_path, "fit", "tiny", "--json")
    assert answer(done, 69)["error"] == error | {"exit": 69}
    assert one_line(done.stderr) == "model 'tiny' needs 9 GB"


def test_for_another_board_and_for_a_file_no_daemon_is_asked(
    tmp_path: Path, daemon: FakeDaemon, tiny_model: Path
) -> None:
    for arguments in (["tiny", "--board", "pi-5-8gb"], ["tiny.json"], [str(tiny_model)]):
        outpost(daemon, tmp_path, "fit", *arguments)
    assert daemon.requests == []


def test_the_key_of_a_file_is_sent(tmp_path: Path, daemon: FakeDaemon, told_fit: dict[str, Any]) -> None:
    daemon.script.fit, daemon.script.key = told_fit, "ek_right"
    (tmp_path / "key").write_text("ek_right\n")
    assert outpost(daemon, tmp_path, "fit", "tiny", "--key-file", "key").returncode == 0
    assert outpost(daemon, tmp_path, "fit", "tiny").returncode == 77


def test_a_name_that_the_daemon_does_not_have_is_66(tmp_path: Path, daemon: FakeDaemon) -> None:
    done = outpost(daemon, tmp_path, "fit", "other")
    assert (done.returncode, done.stdout) == (66, "")
    assert "model 'other' not found; available: tiny" in one_line(done.stderr)


@pytest.mark.parametrize(
    "told",
    [{}, {"plan": {}}, {"error": 5}, {"model": "x", "plan": None, "least": {"footprint": 1}}, [], "x", None],
)
def test_what_is_no_answer_is_one_line(tmp_path: Path, daemon: FakeDaemon, told: object) -> None:
    daemon.script.fit = told
    done = outpost(daemon, tmp_path, "fit", "tiny")
    assert (done.returncode, done.stdout) == (76, "")
    assert one_line(done.stderr)


def test_control_characters_of_a_daemon_do_not_reach_the_terminal(
    tmp_path: Path, daemon: FakeDaemon, told_fit: dict[str, Any]
) -> None:
    daemon.script.fit = told_fit | {"model": "a\x1b[2Jb", "evicts": ["c\x07"], "notes": ["\x9b1m"]}
    done = outpost(daemon, tmp_path, "fit", "tiny")
    assert done.returncode == 0
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout)


def test_one_that_was_named_and_does_not_answer_is_no_reason_to_answer_here(
    tmp_path: Path, tiny_model: Path
) -> None:
    done = fit(tmp_path, "tiny", "--host", "127.0.0.1:9")
    assert done.returncode == 69
    assert "no daemon answers at http://127.0.0.1:9" in one_line(done.stderr)


def test_asking_a_daemon_loads_nothing_that_planning_needs(
    tmp_path: Path, daemon: FakeDaemon, told_fit: dict[str, Any]
) -> None:
    daemon.script.fit = told_fit
    env = environment(tmp_path, OUTPOST_HOST=daemon.address)
    loaded = loaded_modules(tmp_path, "fit", "tiny", env=env)
    unwanted = {"appliance.config", "appliance.errors", "appliance.planner", "appliance.store", "msgspec"}
    assert not loaded & {*HEAVY, *SLOW, *unwanted, "dataclasses"}


def test_neither_inference_nor_the_daemons_loops_are_loaded_for_it(tmp_path: Path, tiny_model: Path) -> None:
    arguments = ("fit", str(tiny_model), "--board", "pi-5-8gb")
    loaded = loaded_modules(tmp_path, *arguments, env=environment(tmp_path))
    assert not loaded & {
        *HEAVY,
        "appliance.config",
        "llama_cpp",
        "numpy",
        "jinja2",
        "appliance.supervisor.supervisor",
    }


def test_alone_it_loads_no_door_and_of_the_store_what_reads_it(tmp_path: Path, tiny_model: Path) -> None:
    with Layout(tmp_path / "data" / FOLDER, files=UnsyncedFiles(), floor_fraction=0.0) as layout:
        store_model(layout, "tiny", tiny_model)
    doors = {"email", "http.client", "ssl", "tomllib", "concurrent.futures", "appliance.wire.channel"}
    of_file = loaded_modules(tmp_path, "fit", str(tiny_model), env=environment(tmp_path))
    unwanted = {"appliance.store", "appliance.supervisor.policy", "hashlib", "socket"}
    assert not of_file & {*HEAVY, *doors, *unwanted}
    of_name = loaded_modules(tmp_path, "fit", "tiny", "--data", "data", env=environment(tmp_path))
    unwanted = {"appliance.go_template", "appliance.store.layout", "appliance.store.serving"}
    assert not of_name & {*HEAVY, *doors, *unwanted}
