"""The starter model on a simulated Orin Nano of 8 GB: which rung it takes, and what cannot fit at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.daemon import STARTER, Daemon
from tests.e2e.asking import wait_until
from tests.e2e.store_commands import command
from tests.fakes import ghost_models
from tests.fakes.fake_board import FakeBoard, load
from tests.integration.daemon_asking import chat

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CONFIG: Final = """
[engine]
n_ctx_seq = 8192
n_seq_max = 64

[memory.smaller]
replaced = "wide"
"""
GOLDEN: Final = {"n_ctx_seq": 8192, "n_seq_max": 8, "conceded": ["parallel: 64 -> 8"]}
"""6.1 GB available less the reserve is 5.3 GiB; extra slots may fill half of it: of 64 slots of 8,192 tokens
(12.2 GB of f16 cells) sixteen take 3.4 GB, eight 1.7 GB.
"""


@dataclass(kw_only=True)
class OrinNano:
    """As `tests.fakes.memory_bound.MemoryBound`: nothing bounds the daemon, its files say what there is."""

    sysroot: Path
    limit_bytes: int = 0

    @property
    def command(self) -> list[str]:
        return []

    def started(self, pid: int) -> None:
        """Nothing to be done."""

    def held_bytes(self) -> int:
        return 0

    def oom_kills(self) -> int:
        return 0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("orin")
    FakeBoard(directory / "root", load("orin-nano-8g-r36"))
    large = ghost_models.write_ghost(directory, "qwen3-30b-a3b")
    models = {"wide": STARTER, "large": large, "replaced": large}
    bound = OrinNano(sysroot=directory / "root")
    with Daemon(directory / "daemon", models=models, config=CONFIG, bound=bound) as daemon:
        yield daemon


def runner(daemon: Daemon, name: str) -> dict[str, Any]:
    report = json.loads(daemon.get("/healthz"))
    found: dict[str, Any] = next(runner for runner in report["runners"] if runner["model"] == name)
    return found


def planned(daemon: Daemon, name: str) -> dict[str, Any]:
    """The journal's last line about a load of this model."""
    lines = [json.loads(line) for line in daemon.log().splitlines() if '"runner_memory"' in line]
    found: dict[str, Any] = [line for line in lines if line["runner"] == name][-1]
    return found


def empty(daemon: Daemon) -> None:
    """Put out what the tests before have left: the board is the next model's alone."""
    for name in ("replaced", "wide"):
        command(daemon, "stop", name)
    wait_until(lambda: not daemon.runners(), within_s=15, what="nothing is in memory")


def test_what_would_be_taken_is_told_beforehand_and_nothing_is_loaded(daemon: Daemon) -> None:
    empty(daemon)
    starts = runner(daemon, "large")["starts"]
    told = {
        name: json.loads(command(daemon, "fit", name, "--json").stdout)
        for name in ("wide", "large", "replaced")
    }
    wide = told["wide"]["plan"]
    assert {key: wide["placement"][key] for key in ("n_ctx_seq", "n_seq_max")} == {
        "n_ctx_seq": 8192,
        "n_seq_max": 8,
    }
    conceded = [f"{one['what']}: {one['wanted']} -> {one['got']}" for one in wide["conceded"]]
    assert conceded == GOLDEN["conceded"]
    assert (told["large"]["verdict"], told["large"]["error"]["largest_ctx"]) == ("refused", 0)
    assert (told["replaced"]["verdict"], told["replaced"]["plan"]["variant"]) == ("fits", "wide")
    assert runner(daemon, "large")["starts"] == starts
    assert daemon.runners() == []


def test_a_wish_too_large_for_the_board_takes_the_rung_of_the_golden_table(daemon: Daemon) -> None:
    empty(daemon)
    done = command(daemon, "run", "wide", "Say hello.")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    taken = runner(daemon, "wide")
    assert {key: taken[key] for key in ("n_ctx_seq", "n_seq_max")} == {"n_ctx_seq": 8192, "n_seq_max": 8}
    assert planned(daemon, "wide")["conceded"] == GOLDEN["conceded"]


def test_what_cannot_fit_is_refused_with_the_numbers_and_never_opened(daemon: Daemon) -> None:
    answer = chat(daemon, "large", max_tokens=1)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "insufficient_memory")
    assert error["message"].startswith("model 'large' needs ")
    assert "with at least 2048 tokens of context" in error["message"]
    assert "no context, however short, would fit" in error["message"]
    assert runner(daemon, "large")["starts"] == 1
    assert runner(daemon, "large")["runner_pid"] is None
    done = command(daemon, "run", "large", "Say hello.")
    assert done.returncode == 69
    assert "no context, however short, would fit" in done.stderr


def test_where_the_operator_allows_it_a_smaller_model_stands_in_and_it_is_told(daemon: Daemon) -> None:
    answer = chat(daemon, "replaced", max_tokens=4)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    assert planned(daemon, "replaced")["conceded"][-1] == "variant: replaced -> wide"
