"""`outpost fit` and `/outpost/v1/fit` of a real daemon on a simulated board: fits, evicts, waits, refused."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.daemon import Daemon
from tests.integration.command_line import environment, one_line, run
from tests.integration.daemon_asking import ask, chat

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MIB: Final = 1 << 20
TOTAL: Final = 2048 * MIB
RESERVE: Final = 64 * MIB
CONFIG: Final = f"""
[engine]
n_ctx_seq = 256
n_seq_max = 2

[memory]
reserve_bytes = {RESERVE}
min_ctx = 64

[lifecycle]
min_residency_s = 0.0
turn_s = 60.0
"""


@dataclass(kw_only=True)
class ToldBoard:
    """As `tests.fakes.memory_bound.MemoryBound`: nothing bounds the daemon, the test says what is free."""

    sysroot: Path
    limit_bytes: int = TOTAL

    @property
    def command(self) -> list[str]:
        return []

    def started(self, pid: int) -> None:
        """Nothing to be done."""

    def held_bytes(self) -> int:
        return 0

    def oom_kills(self) -> int:
        return 0

    def tell(self, available_bytes: int) -> None:
        (self.sysroot / "proc").mkdir(parents=True, exist_ok=True)
        aside = self.sysroot / "proc/meminfo.new"
        aside.write_text(f"MemTotal: {TOTAL // 1024} kB\nMemAvailable: {available_bytes // 1024} kB\n")
        aside.rename(self.sysroot / "proc/meminfo")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> ToldBoard:
    board = ToldBoard(sysroot=tmp_path_factory.mktemp("board"))
    board.tell(TOTAL // 2)
    return board


@pytest.fixture(scope="module")
def running(board: ToldBoard, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("fit")
    models = {"a": tiny_model, "b": tiny_model}
    with Daemon(directory, models=models, config=CONFIG, bound=board) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _nothing_in_memory(board: ToldBoard, running: Daemon) -> None:
    board.tell(TOTAL // 2)
    for name in ("a", "b"):
        ask(running, "POST", "/outpost/v1/unload", model=name)
    deadline_s = time.monotonic() + 10.0
    while any(in_memory(running).values()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def in_memory(daemon: Daemon) -> dict[str, bool]:
    models = ask(daemon, "GET", "/v1/models").json()["data"]
    return {model["id"]: model["state"] not in {"stopped", "failed"} for model in models}


def fit(daemon: Daemon, name: str, **wishes: int) -> dict[str, Any]:
    answer = ask(daemon, "POST", "/outpost/v1/fit", model=name, **wishes)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert isinstance(told, dict)
    return told


def command(daemon: Daemon, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("fit", *arguments, "--data", str(daemon.data), env=environment(home), cwd=home)


def make_scarce(daemon: Daemon, board: ToldBoard, name: str) -> None:
    """So much is left that not even the least placement of `name` fits beside what others were promised."""
    least = fit(daemon, name)
    owed = least["budget"]["owed_bytes"]
    board.tell(RESERVE + owed + least["least"]["footprint"]["total_bytes"] - 8 * MIB)


def test_what_fits_is_told_with_exact_sizes_and_nothing_starts(running: Daemon) -> None:
    told = fit(running, "a")
    assert (told["verdict"], told["in_memory"]) == ("fits", None)
    assert "dry run" in told["origin"]
    assert told["budget"]["bytes"] == TOTAL // 2 - RESERVE
    placement = told["plan"]["placement"]
    assert (placement["n_ctx_seq"], placement["n_seq_max"]) == (256, 2)
    assert not any(in_memory(running).values())
    wished = fit(running, "A", n_ctx_seq=128, n_parallel=1, min_ctx=100)
    placement = wished["plan"]["placement"]
    assert (placement["n_ctx_seq"], placement["n_seq_max"], wished["min_ctx"]) == (128, 1, 100)


def test_the_load_takes_the_rung_that_was_told_and_then_its_own_bytes_are_free(running: Daemon) -> None:
    told = fit(running, "a")
    assert ask(running, "POST", "/outpost/v1/load", model="a").status_code == 200
    again = fit(running, "a")
    assert again["in_memory"]["state"] == "ready"
    assert again["in_memory"]["plan"]["placement"] == told["plan"]["placement"]
    assert again["budget"]["freed_bytes"] > 0
    assert again["verdict"] == "fits"


def test_whom_it_would_put_out_is_told_and_he_stays(
    running: Daemon, board: ToldBoard, tmp_path: Path
) -> None:
    ask(running, "POST", "/outpost/v1/load", model="a")
    make_scarce(running, board, "b")
    told = fit(running, "b")
    assert (told["fits"], told["verdict"], told["evicts"]) == (True, "evicts", ["a"])
    done = command(running, tmp_path, "b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("here once idle models have gone")
    assert "a (idle)" in done.stdout
    assert in_memory(running) == {"a": True, "b": False}


def test_a_busy_model_is_waited_for_and_answers_to_its_end(running: Daemon, board: ToldBoard) -> None:
    ask(running, "POST", "/outpost/v1/load", model="a")
    make_scarce(running, board, "b")
    answers: list[int] = []
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            answers.append(chat(running, "a", max_tokens=64, ignore_eos=True).status_code)

    clients = [threading.Thread(target=client) for _ in range(2)]
    for one in clients:
        one.start()
    try:
        seen = [fit(running, "b") for _ in range(10)]
    finally:
        over.set()
        for one in clients:
            one.join()
    waits = [told for told in seen if told["verdict"] == "waits"]
    assert waits, seen[0]["verdict"]
    assert {tuple(told["waits_for"]) for told in waits} == {("a",)}
    assert all(told["fits"] for told in seen)
    assert set(answers) == {200}
    assert in_memory(running) == {"a": True, "b": False}


def test_what_never_fits_is_200_with_the_numbers_and_69_for_the_command(
    running: Daemon, board: ToldBoard, tmp_path: Path
) -> None:
    make_scarce(running, board, "b")
    told = fit(running, "b")
    assert (told["fits"], told["verdict"], told["plan"]) == (False, "refused", None)
    error = told["error"]
    assert error["code"] == "insufficient_memory"
    assert error["needed_bytes"] > error["available_bytes"] > 0
    done = command(running, tmp_path, "b", "--json")
    assert done.returncode == 69
    assert json.loads(done.stdout)["error"]["exit"] == 69
    assert one_line(done.stderr).startswith("model 'b' needs ")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nothing"}, 404, "model"),
        ({"model": "a", "min_ctx": 1 << 20}, 400, "min_ctx"),
        ({"model": "a", "n_ctx_seq": -1}, 400, "n_ctx_seq"),
        ({"model": "a", "n_parallel": "2"}, 400, "n_parallel"),
        ({"model": "a", "evict": True}, 400, "evict"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    running: Daemon, body: dict[str, Any], status: int, param: str
) -> None:
    answer = ask(running, "POST", "/outpost/v1/fit", **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_many_who_ask_at_once_are_answered_or_refused_and_the_daemon_serves_on(running: Daemon) -> None:
    answers: list[tuple[int, str]] = []

    def client() -> None:
        for _ in range(5):
            answer = ask(running, "POST", "/outpost/v1/fit", model="a")
            answers.append((answer.status_code, answer.json().get("error", {}).get("code", "")))

    clients = [threading.Thread(target=client) for _ in range(16)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert len(answers) == 80
    assert set(answers) <= {(200, ""), (503, "overloaded")}
    assert (200, "") in answers
    assert chat(running, "a", max_tokens=2).status_code == 200


def test_the_command_is_quick_when_sizes_are_known(running: Daemon, tmp_path: Path, tiny_model: Path) -> None:
    """The figures are printed; a machine that runs tests beside is slower by far."""
    asked = [timed_s(running, tmp_path, "a") for _ in range(7)]
    alone = [timed_s(running, tmp_path, str(tiny_model)) for _ in range(5)]
    for what, times in (("asked of a daemon", asked), ("answered by itself", alone)):
        median, best = sorted(times)[len(times) // 2], min(times)
        print(f"outpost fit, cached, {what}: median {1000 * median:.0f} ms, best {1000 * best:.0f} ms")
    assert min(asked) < 1.0
    assert min(alone) < 2.0


def timed_s(daemon: Daemon, home: Path, name: str) -> float:
    began_s = time.monotonic()
    done = command(daemon, home, name)
    took_s = time.monotonic() - began_s
    assert done.returncode == 0, done.stderr
    return took_s
