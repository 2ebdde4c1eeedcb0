"""The commands of the store as programs: asked of a door over a fake store, and on a store of their own."""

from __future__ import annotations

import json
import signal
import subprocess
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
from tests.integration.api_door import opened
from tests.integration.command_line import HEAVY, OUTPOST, SLOW, environment, loaded_modules, run

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


def test_what_was_cut_off_is_freed_when_it_is_asked_for(desk: Desk) -> None:
    held = Kept(blobs=1, size_bytes=2_000_000_000)
    desk.store.collected = Collected(blobs=0, size_bytes=0, cut_off=held)
    assert desk.outpost("gc").stdout.splitlines()[1:] == [
        "kept 2.0 GB in 1 blob cut off on the way in, for the next try: a week",
        "to free it now: outpost gc --arrivals",
    ]
    desk.store.collected = Collected(blobs=1, size_bytes=2_000_000_000, arrivals=held)
    done = desk.outpost("gc", "--arrivals")
    assert desk.asked() == ("gc", False, None, "arrivals")
    assert done.stdout == "freed 2.0 GB in 1 blob\nof that, 2.0 GB in 1 blob cut off on the way in\n"
    told = json.loads(desk.outpost("gc", "--arrivals", "--json").stdout)
    assert told["arrivals"] == {"blobs": 1, "size_bytes": 2_000_000_000}


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


@pytest.mark.parametrize("arguments", [("list",), ("show", "tiny")])
def test_what_the_daemon_answers_is_shown_without_loading_the_store(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    loaded = loaded_modules(desk.home, *arguments, env=desk.env)
    assert loaded & (HEAVY | SLOW | {"msgspec"}) == set()
    below = {name.split(".")[1] for name in loaded if name.startswith("appliance.")}
    assert below == {"cli"}
