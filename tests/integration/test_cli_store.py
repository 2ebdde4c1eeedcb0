"""The commands of the store as programs: asked of a door over a fake store, and on a store of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.api.server import Server
from appliance.errors import DigestMismatch
from appliance.store.kept import Kept
from appliance.store.verbs import Collected
from tests.fakes.fake_store_verbs import TINY, FakeStoreVerbs
from tests.fakes.fake_terminal import CTRL_C, FakeTerminal
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.fakes.ollama_models import LIBRARY, OllamaModels
from tests.integration.api_door import opened
from tests.integration.command_line import OUTPOST, environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@dataclass
class Desk:
    """A daemon's door over a fake store, and the command line that asks it."""

    server: Server
    store: FakeStoreVerbs
    home: Path

    @property
    def env(self) -> dict[str, str]:
        return environment(self.home, OUTPOST_HOST=self.server.url)

    def asked(self) -> tuple[object, ...]:
        """The last call of the store."""
        return self.store.calls[-1]

    def outpost(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        return run(*arguments, env=self.env, cwd=self.home, stdin=stdin)


def run(
    *arguments: str, env: dict[str, str], cwd: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*OUTPOST, *arguments],
        input=stdin,
        env=env,
        cwd=cwd,
        capture_output=True,
        timeout=40,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = FakeStoreVerbs()
    with opened(store=store) as door:
        yield Desk(door.server, store, tmp_path)


# ── asked of a daemon ───────────────────────────────────────────────────────────────────────────────────────


def test_a_pull_in_a_pipe_is_plain_lines(desk: Desk) -> None:
    done = desk.outpost("pull", "other")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "pulling manifest"
    assert lines[-2:] == ["writing manifest", "success"]
    assert "pulling aaaaaaaaaaaa: 100%  1.0 kB/1.0 kB" in lines


def test_a_pull_with_json_is_a_line_for_each_news_and_last_the_outcome(desk: Desk) -> None:
    done = desk.outpost("pull", "other", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success", "name": "other:latest"}


def test_a_pull_on_a_terminal_has_bars(desk: Desk) -> None:
    with FakeTerminal([*OUTPOST, "pull", "other"], env=desk.env) as terminal:
        terminal.wait_for("success")
        assert terminal.wait() == 0
        assert "pulling aaaaaaaaaaaa: 100% ▕█" in terminal.screen


def test_ctrl_c_cancels_the_daemons_work_and_says_that_nothing_is_lost(desk: Desk) -> None:
    desk.store.hold = threading.Event()
    with FakeTerminal([*OUTPOST, "pull", "other"], env=desk.env) as terminal:
        terminal.wait_for("pulling manifest")
        terminal.press(CTRL_C)
        terminal.wait_for("the next try goes on from there")
        assert terminal.wait() == 130
    assert desk.store.was_cancelled.wait(5)


def test_a_killed_command_cancels_too(desk: Desk) -> None:
    desk.store.hold = threading.Event()
    command = subprocess.Popen([*OUTPOST, "pull", "other"], env=desk.env, stdout=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.readline()
    command.send_signal(signal.SIGKILL)
    command.wait(5)
    command.stdout.close()
    assert desk.store.was_cancelled.wait(5)


def test_a_fault_in_mid_work_is_one_line_and_an_exit_code(desk: Desk) -> None:
    desk.store.fault = DigestMismatch(what="blob", expected="sha256:a", actual="sha256:b")
    done = desk.outpost("pull", "other")
    assert done.returncode == 65
    assert done.stderr.startswith("outpost: blob is not what its digest says")
    assert done.stderr.count("\n") == 1
    told = desk.outpost("pull", "other", "--json")
    assert json.loads(told.stdout.splitlines()[-1])["error"]["code"] == "digest_mismatch"


def test_the_list_the_copy_and_the_removal(desk: Desk) -> None:
    listed = desk.outpost("ls")
    assert listed.stdout.splitlines()[0].split() == ["NAME", "ID", "SIZE", "UNIQUE", "MODIFIED"]
    assert TINY.id in listed.stdout
    assert desk.outpost("cp", "tiny", "b").stdout == "copied 'tiny' to 'b'\n"
    assert desk.outpost("rm", "tiny").stdout == "deleted 'tiny'\n"
    missing = desk.outpost("rm", "tiny")
    assert missing.returncode == 66
    assert "outpost pull" in missing.stderr
    empty = desk.outpost("list")
    assert "the store is empty" in empty.stdout


def test_paths_go_to_the_daemon_whole(desk: Desk) -> None:
    (desk.home / "b.gguf").write_bytes(b"GGUF")
    done = desk.outpost("import", "b.gguf", "--link")
    assert done.stdout.splitlines()[-1] == "imported 'b:latest'"
    assert desk.asked() == ("import", "b", desk.home / "b.gguf", True)
    assert desk.outpost("export", "tiny", "out.tar").returncode == 0
    assert desk.asked() == ("export", "tiny", desk.home / "out.tar")
    assert desk.outpost("import", "none.gguf").returncode == 66


def test_a_modelfile_goes_with_its_directory(desk: Desk) -> None:
    (desk.home / "sub").mkdir()
    (desk.home / "sub" / "Modelfile").write_text("FROM ./b.gguf\n")
    assert desk.outpost("create", "b", "-f", "sub/Modelfile", "-q", "q4_K_M").returncode == 0
    assert desk.asked() == ("create", "b", "FROM ./b.gguf\n", desk.home / "sub", "q4_K_M")
    assert desk.outpost("create", "b", "-f", "-", stdin=b"FROM tiny\n").returncode == 0
    assert desk.asked() == ("create", "b", "FROM tiny\n", desk.home, None)


def test_show_prints_whole_parts_and_json(desk: Desk) -> None:
    assert desk.outpost("show", "tiny").stdout.startswith("  Model\n")
    assert desk.outpost("show", "tiny", "--system").stdout == "You are kind.\n"
    assert json.loads(desk.outpost("show", "tiny", "--json").stdout)["name"] == "tiny:latest"


def test_verify_ends_with_65_when_something_is_broken(desk: Desk) -> None:
    assert desk.outpost("verify").returncode == 0
    desk.store.broken = (("tiny:latest", "its weights are zeroed"),)
    done = desk.outpost("verify")
    assert (done.returncode, "tiny:latest: its weights are zeroed" in done.stdout) == (65, True)


def test_verify_tells_of_an_index_that_was_built_again(desk: Desk) -> None:
    assert "the index is sound" in desk.outpost("verify", "--rebuild-index").stdout
    assert ("rebuild_index",) in desk.store.calls
    desk.store.rebuilt = ("registry.ollama.ai/library/tiny:latest",)
    told = desk.outpost("verify", "--rebuild-index").stdout
    assert "built again with 1 names" in told
    assert "  registry.ollama.ai/library/tiny:latest\n" in told


def test_gc_says_what_it_freed_or_would(desk: Desk) -> None:
    assert desk.outpost("gc", "--dry-run").stdout == "would free 3.0 MB in 2 blobs\n"
    assert desk.outpost("gc").stdout == "freed 3.0 MB in 2 blobs\n"


def test_the_grace_goes_to_the_daemon_and_what_stayed_comes_back(desk: Desk) -> None:
    young = Kept(blobs=2, size_bytes=98_000_000, first_in_s=60.0, last_in_s=61.0)
    desk.store.collected = Collected(blobs=0, size_bytes=0, young=young)
    assert desk.outpost("gc", "--grace", "10", "--json").returncode == 0
    assert desk.asked() == ("gc", False, 10.0)
    assert desk.outpost("gc").stdout.splitlines()[1:] == [
        "kept 98 MB in 2 blobs that came less than 1h00m ago: it can go in 1m01s",
        "to free it now: outpost gc --grace 0",
    ]
    assert desk.outpost("gc", "--grace", "7200").returncode == 64


def test_a_model_of_a_directory_is_chosen_and_renamed(desk: Desk) -> None:
    (desk.home / "models").mkdir()
    done = desk.outpost("import", "models", "tiny", "--as", "mine")
    assert done.stdout.splitlines()[-1] == "imported 'mine:latest'"
    assert desk.asked() == ("import", "tiny", desk.home / "models", False, "mine")


def test_gc_that_may_free_nothing_says_why_and_what_to_do_and_ends_with_65(desk: Desk) -> None:
    desk.store.withheld = ("tiny:latest: blob sha256:aa cannot be read: input/output error",)
    done = desk.outpost("gc")
    assert (done.returncode, done.stdout) == (65, "freed 0 B in 0 blobs\n")
    assert "tiny:latest: blob sha256:aa cannot be read" in done.stderr
    assert "outpost rm NAME" in done.stderr
    told = desk.outpost("gc", "--json")
    assert (told.returncode, json.loads(told.stdout)["withheld"]) == (65, list(desk.store.withheld))


def test_run_of_a_missing_model_says_how_to_get_it(desk: Desk) -> None:
    done = desk.outpost("run", "nothing", "hi")
    assert done.returncode == 66
    assert "outpost pull NAME" in done.stderr
    assert "outpost import FILE" in done.stderr


# ── on a store of its own ───────────────────────────────────────────────────────────────────────────────────


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
    assert "built again with 1 names" in _done(alone(tmp_path, "verify", "--rebuild-index"))
    names = [model["name"] for model in json.loads(_done(alone(tmp_path, "list", "--json")))["models"]]
    assert names == ["tiny:latest"]


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


HEAVY = {"asyncio", "falcon", "httpx", "prompt_toolkit", "pydantic", "structlog", "urllib3", "waitress"}


def _loaded(home: Path, *arguments: str, env: dict[str, str]) -> set[str]:
    """The modules that the process of this command has loaded when it ends."""
    code = (
        "import sys\nfrom appliance.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\nprint(*sys.modules, file=sys.stderr)"
    )
    told = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(told, env=env, cwd=home, capture_output=True, text=True, timeout=30, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("list",), ("show", "tiny")])
def test_what_the_daemon_answers_is_shown_without_loading_the_store(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    loaded = _loaded(desk.home, *arguments, env=desk.env)
    assert loaded & (HEAVY | {"msgspec"}) == set()
    below = {name.split(".")[1] for name in loaded if name.startswith("appliance.")}
    assert below == {"cli", "errors"}


def test_a_list_without_a_daemon_loads_nothing_heavy(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "data").mkdir()
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    assert _loaded(tmp_path, "list", "--data", "data", env=environment(tmp_path)) & HEAVY == set()


def test_a_list_without_a_daemon_is_that_of_the_daemon(tmp_path: Path, tiny_model: Path) -> None:
    """It is read in another way where no configuration is named."""
    (tmp_path / "data").mkdir()
    (tmp_path / "outpost.toml").write_text("")
    _done(alone(tmp_path, "import", str(tiny_model), "tiny"))
    _done(alone(tmp_path, "cp", "tiny", "team/tiny:v1"))
    for prefix in ((), ("TI",), ("none",)):
        short = _done(alone(tmp_path, "list", "--json", *prefix))
        whole = _done(alone(tmp_path, "list", "--json", *prefix, "--config", "outpost.toml"))
        assert json.loads(short) == json.loads(whole)


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


def _outside(home: Path) -> set[str]:
    """All but the store's own files, which a start may touch."""
    return {str(path) for path in home.rglob("*") if home / "data" / "store" not in path.parents}


def _done(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
