"""`outpost fit` as a program: beside a daemon that has the store open, and alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.store.layout import Layout
from appliance.store.places import FOLDER
from tests.fakes.model_files import UnsyncedFiles
from tests.fakes.stored_models import store_model
from tests.integration.command_line import HEAVY, environment, loaded_modules, one_line, run

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
        (["x.gguf"], 74),
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


def test_neither_inference_nor_the_daemons_loops_are_loaded_for_it(tmp_path: Path, tiny_model: Path) -> None:
    arguments = ("fit", str(tiny_model), "--board", "pi-5-8gb")
    loaded = loaded_modules(tmp_path, *arguments, env=environment(tmp_path))
    unwanted = HEAVY - {"pydantic", "structlog", "asyncio"}  # the configuration's, and its log's
    assert not loaded & {*unwanted, "llama_cpp", "numpy", "jinja2", "appliance.supervisor.supervisor"}
