"""Models in memory that is too small for all of them: real runners under a real bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import pytest

from tests.bench.cycles import CONFIG, EXPECTED, ONE_MODEL, random_acts, told
from tests.daemon import STARTER, Daemon
from tests.fakes.memory_bound import MemoryBound, memory_bound
from tests.integration.daemon_asking import ask, chat

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MIB: Final = 1 << 20


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryBound]:
    with memory_bound(ONE_MODEL, tmp_path_factory.mktemp("board")) as bound:
        yield bound


@pytest.fixture(scope="module")
def daemon(bound: MemoryBound, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("memory")
    models = {"a": STARTER, "b": STARTER}
    with Daemon(directory, models=models, config=CONFIG, bound=bound) as daemon:
        yield daemon


def states(daemon: Daemon) -> dict[str, str]:
    return {model["id"]: model["state"] for model in ask(daemon, "GET", "/v1/models").json()["data"]}


def until(holds: Callable[[], bool], *, within_s: float) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s
        time.sleep(0.02)
    return time.monotonic() - began


def test_two_models_alternate_under_a_bound_that_holds_one(daemon: Daemon, bound: MemoryBound) -> None:
    for name in ("a", "b", "a", "b"):
        answer = chat(daemon, name, max_tokens=8)
        assert answer.status_code == 200, answer.text
        assert sorted(states(daemon).values()).count("ready") == 1
    assert bound.oom_kills() == 0


def test_requests_for_both_at_once_are_all_answered(daemon: Daemon, bound: MemoryBound) -> None:
    answers: SimpleQueue[int] = SimpleQueue()

    def client(name: str) -> None:
        for _ in range(3):
            answers.put(chat(daemon, name, max_tokens=16).status_code)

    threads = [threading.Thread(target=client, args=(name,)) for name in ("a", "b", "a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers.get(timeout=1.0) for _ in range(12)] == [200] * 12
    assert bound.oom_kills() == 0


def test_an_idle_model_gives_its_memory_back(
    daemon: Daemon, bound: MemoryBound, capsys: pytest.CaptureFixture[str]
) -> None:
    """At least 98 % of all that came with it, within two seconds."""
    assert chat(daemon, "a", max_tokens=1).status_code == 200  # what the daemon itself needs first is there
    ask(daemon, "POST", "/outpost/v1/unload", model="a")
    ask(daemon, "POST", "/outpost/v1/unload", model="b")
    until(lambda: not daemon.runners(), within_s=10.0)
    before = bound.held_bytes()
    assert chat(daemon, "a", max_tokens=200, keep_alive=-1).status_code == 200
    held = bound.held_bytes()
    assert chat(daemon, "a", max_tokens=1, keep_alive=0).status_code == 200
    gone_s = until(lambda: not daemon.runners(), within_s=5.0)
    time.sleep(max(0.0, 1.9 - gone_s))
    back = (held - bound.held_bytes()) / (held - before)
    with capsys.disabled():
        print(
            f"\nidle past its keep-alive: its process is gone after {gone_s:.2f} s, "
            f"{back:.1%} of {(held - before) / MIB:.0f} MiB are back"
        )
    assert gone_s <= 2.0
    assert back >= 0.98
    assert states(daemon)["a"] == "stopped"


def test_a_model_that_never_fits_is_refused_with_the_numbers_and_nothing_is_loaded(
    bound: MemoryBound, tmp_path: Path
) -> None:
    config = CONFIG.replace("min_ctx = 2048", "min_ctx = 8192").replace("n_ctx_seq = 2048", "n_ctx_seq = 0")
    large = config.replace("reserve_bytes = 67108864", "reserve_bytes = 536870912")
    with Daemon(tmp_path, models={"large": STARTER}, config=large, bound=bound) as daemon:
        answer = chat(daemon, "large", max_tokens=1)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "insufficient_memory")
        assert error["message"].startswith("model 'large' needs ")
        assert daemon.runners() == []
        assert states(daemon) == {"large": "stopped"}


def test_random_loads_and_evictions_under_the_bound_are_never_killed_for_memory(
    daemon: Daemon, bound: MemoryBound, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loads, stops, requests and hang-ups in any order; each is answered, or refused with a typed error."""
    outcomes = random_acts(daemon, 40)
    with capsys.disabled():
        print("\n" + told(outcomes, bound))
    assert bound.oom_kills() == 0
    assert set(outcomes) <= EXPECTED
