"""The commands of the store as programs, on a store of their own: no daemon runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.fakes.ollama_models import LIBRARY, OllamaModels
from tests.integration.command_line import HEAVY, environment, loaded_modules, one_line, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def alone(home: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return run(*arguments, "--data", str(home / "data"), env=environment(home), cwd=home, stdin=stdin)


def test_without_a_daemon_the_store_is_opened_and_a_model_goes_all_ways(
    tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "data").mkdir()
    assert "imported 'tiny:latest'" in _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    _done(alone(tmp_path, "create", "kind", "-f", "-", stdin=b"FROM tiny\nSYSTEM Be kind.\n"))
    assert _done(alone(tmp_path, "show", "kind", "--system")) == "Be kind.\n"
    assert json.loads(_done(alone(tmp_path, "show", "kind", "--json")))["metadata"]
    assert "  Tensors\n" in _done(alone(tmp_path, "show", "kind", "-v"))
    (tmp_path / "Modelfile").write_text(_done(alone(tmp_path, "show", "kind", "--modelfile")))
    _done(alone(tmp_path, "create", "again"))
    assert _done(alone(tmp_path, "show", "again", "--system")) == "Be kind.\n"
    _done(alone(tmp_path, "rm", "again"))
    _done(alone(tmp_path, "cp", "kind", "team/kind:v1"))
    names = [model["name"] for model in json.loads(_done(alone(tmp_path, "list", "--json")))["models"]]
    assert sorted(names) == ["kind:latest", "team/kind:v1", "tiny:latest"]
    for target in ("stick", "kind.tar"):
        _done(alone(tmp_path, "export", "kind", target))
    _done(alone(tmp_path, "rm", "kind", "team/kind:v1"))
    assert "imported 'kind:latest'" in _done(alone(tmp_path, "import", "stick"))
    _done(alone(tmp_path, "rm", "kind"))
    assert "imported 'kind:latest'" in _done(alone(tmp_path, "import", "kind.tar"))
    assert _done(alone(tmp_path, "verify")).splitlines()[-1].endswith("read")
    assert "freed" in _done(alone(tmp_path, "gc"))


def test_what_a_collection_leaves_is_told_and_freed_on_demand(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    _done(alone(tmp_path, "rm", "tiny"))
    assert _done(alone(tmp_path, "gc")).splitlines()[0] == "freed 0 B in 0 blobs"
    told = json.loads(_done(alone(tmp_path, "gc", "--json")))
    assert (told["blobs"], told["young"]["blobs"] > 0, told["grace_s"]) == (0, True, 3600.0)
    assert told["young"]["size_bytes"] > tiny_model.stat().st_size
    assert 3500 < told["young"]["last_in_s"] <= 3600
    freed = json.loads(_done(alone(tmp_path, "gc", "--grace", "0", "--json")))
    assert (freed["blobs"], freed["young"]["blobs"]) == (told["young"]["blobs"], 0)


def test_what_was_cut_off_is_freed_directly(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    digest = "a" * 64
    ingest = tmp_path / "data" / "store" / "ingest"
    (ingest / f"{digest}.part").write_bytes(bytes(100_000))
    (ingest / f"{digest}.json").write_text('{"size": 100000, "durable": [[0, 4096]]}')
    told = _done(alone(tmp_path, "gc")).splitlines()
    assert told[-1] == "to free it now: outpost gc --arrivals"
    freed = json.loads(_done(alone(tmp_path, "gc", "--arrivals", "--json")))
    assert (freed["arrivals"]["blobs"], freed["cut_off"]["blobs"]) == (1, 0)
    assert freed["size_bytes"] == freed["arrivals"]["size_bytes"] >= 100_000
    assert list(ingest.iterdir()) == []


def test_a_model_comes_out_of_a_store_of_ollamas(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    models = OllamaModels(tmp_path / "models")
    for name in ("tiny:latest", "other:7b"):
        models.add(f"{LIBRARY}/{name}", tiny_model.read_bytes(), system=name.encode())
    several = alone(tmp_path, "import", "models")
    assert several.returncode == 65
    assert "holds 2 models: other:7b, tiny:latest; name one" in several.stderr
    assert alone(tmp_path, "import", "models", "none").returncode == 66
    told = _done(alone(tmp_path, "import", "models", "other:7b", "--as", "mine"))
    assert told.splitlines()[-1] == "imported 'mine:latest'"
    assert _done(alone(tmp_path, "show", "mine", "--system")) == "other:7b\n"


def test_a_layout_is_checked_without_a_store(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    for target in ("stick", "tiny.tar"):
        _done(alone(tmp_path, "export", "tiny", target))
    env = environment(tmp_path)
    for target in ("stick", "tiny.tar"):
        done = run("verify", "--layout", target, env=env, cwd=tmp_path)
        assert _done(done).splitlines()[-1] == f"{target} is sound"
    largest = max((tmp_path / "stick" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    os.truncate(largest, 1000)
    bad = run("verify", "tiny", "--layout", "stick", "--json", env=env, cwd=tmp_path)
    [fault] = json.loads(bad.stdout.splitlines()[-1])["broken"]
    assert (bad.returncode, fault["what"]) == (65, "tiny:latest")
    assert f"blob sha256:{largest.name} has 1000 of" in fault["reason"]
    assert run("verify", "--layout", "none", env=env, cwd=tmp_path).returncode == 66
    assert alone(tmp_path, "verify", "--layout", "stick").returncode == 64


def test_what_is_no_model_is_refused_and_not_listed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(1000))
    refused = alone(tmp_path, "import", "bad.gguf", "bad")
    assert refused.returncode == 65
    assert refused.stderr.count("\n") == 1
    assert json.loads(_done(alone(tmp_path, "list", "--json"))) == {"models": []}


def test_a_zeroed_index_is_told_and_built_again(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    _done(alone(tmp_path, "cp", "tiny", "other"))
    index = tmp_path / "data/store/index.json"
    index.write_bytes(bytes(index.stat().st_size))
    refused = alone(tmp_path, "list")
    assert refused.returncode == 74
    assert "outpost verify --rebuild-index" in refused.stderr
    assert "built again with 2 names" in _done(alone(tmp_path, "verify", "--rebuild-index"))
    names = [model["name"] for model in json.loads(_done(alone(tmp_path, "list", "--json")))["models"]]
    assert sorted(names) == ["other:latest", "tiny:latest"]


def test_an_unnamed_host_is_not_called(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    refused = alone(tmp_path, "pull", "registry.example/a/b")
    assert refused.returncode == 77
    assert "[store] hosts" in refused.stderr


def test_a_store_that_another_process_has_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "data" / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    refused = alone(tmp_path, "list")
    holder.communicate()
    assert refused.returncode == 75
    assert "another process" in refused.stderr
    assert _done(alone(tmp_path, "list"))


_HOLD = """
import sys
from pathlib import Path
from appliance.store.files import Files
from appliance.store.layout import Layout
with Layout(Path(sys.argv[1]), files=Files()):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_list_without_a_daemon_loads_nothing_heavy(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    assert loaded_modules(tmp_path, "list", "--data", "data", env=environment(tmp_path)) & HEAVY == set()


def _without_hints(told: str) -> list[dict[str, Any]]:
    """What this chip may have to gain takes longer to find out than to list: the short way leaves it out."""
    return [{**model, "hint": None} for model in json.loads(told)["models"]]


def test_a_list_without_a_daemon_is_that_of_the_daemon(tmp_path: Path, tiny_model: Path) -> None:
    """It is read in another way where no configuration is named."""
    (tmp_path / "data").mkdir()
    (tmp_path / "outpost.toml").write_text("")
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    _done(alone(tmp_path, "cp", "tiny", "team/tiny:v1"))
    for prefix in ((), ("TI",), ("none",)):
        short = _done(alone(tmp_path, "list", "--json", *prefix))
        whole = _done(alone(tmp_path, "list", "--json", *prefix, "--config", "outpost.toml"))
        assert _without_hints(short) == _without_hints(whole)


def test_hostile_names_leave_nothing_outside_the_store(tmp_path: Path, tiny_model: Path) -> None:
    """A sample through the real program; all of them, and all words: `test_cli_hostile`."""
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    sample = [name for name in HOSTILE_NAMES if "\0" not in name and name.isprintable() and name][::40]
    before = _outside(tmp_path)
    for name in sample:
        done = alone(tmp_path, "cp", "tiny", f"--={name}" if name.startswith("-") else name)
        assert done.returncode in {64, 65}, (name, done.stderr)
    assert _outside(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("rm",),
        ("show",),
        ("cp", "tiny"),
        ("pull",),
        ("push",),
        ("create", "-f", "Modelfile"),
        ("import", "tiny.gguf"),
        ("verify",),
    ],
)
def test_a_name_that_looks_like_an_option_is_refused_by_its_name(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "Modelfile").write_text("FROM tiny\n")
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    done = run(*arguments, "--data", "data", "--", "--help", env=environment(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert one_line(done.stderr).startswith("'--help' is no model name: ")


def _outside(home: Path) -> set[str]:
    """All but the store's own files, which a start may touch."""
    return {str(path) for path in home.rglob("*") if home / "data" / "store" not in path.parents}


def _done(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
