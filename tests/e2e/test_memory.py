"""Models in memory that is too small for all of them: real runners under a real bound."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.daemon import STARTER, Daemon
from tests.fakes.memory_bound import MemoryBound, memory_bound
from tests.integration.daemon_asking import ask, chat

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MIB: Final = 1 << 20
ONE_MODEL: Final = 640 * MIB
"""Room for the daemon and one starter model with two slots; two do not fit."""
CONFIG: Final = """
[engine]
n_ctx_seq = 2048
n_seq_max = 2

[memory]
reserve_bytes = 67108864
min_ctx = 2048
comfortable_slots = 2

[lifecycle]
keep_alive = -1
min_residency_s = 0.0
turn_s = 0.5
max_swaps_per_min = 600
"""


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


def test_an_idle_model_gives_its_memory_back(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all that it held, and its process is gone."""
    assert ask(daemon, "POST", "/outpost/v1/load", model="a", keep_alive=-1).status_code == 200
    (runner,) = daemon.runners()
    held = runner.memory_info().rss
    before = psutil.virtual_memory().available
    assert chat(daemon, "a", max_tokens=1, keep_alive=0).status_code == 200
    gone_s = until(lambda: not daemon.runners(), within_s=5.0)
    back = psutil.virtual_memory().available - before
    with capsys.disabled():
        print(
            f"\nidle past its keep-alive: gone after {gone_s:.2f} s; {held / MIB:.0f} MiB held, "
            f"{back / MIB:+.0f} MiB available on the whole machine"
        )
    assert gone_s <= 2.0
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
    chance = random.Random(4)
    outcomes: dict[str, int] = {}
    for _ in range(40):
        outcome = _one_act(daemon, chance)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    with capsys.disabled():
        print(
            f"\n40 random acts under {bound.limit_bytes / MIB:.0f} MiB: {json.dumps(outcomes)}, "
            f"{bound.oom_kills()} killed for memory"
        )
    assert bound.oom_kills() == 0
    assert set(outcomes) <= {"200", "hung up", "model_loading", "insufficient_memory"}


def _one_act(daemon: Daemon, chance: random.Random) -> str:
    name = chance.choice("ab")
    match chance.randrange(4):
        case 0:
            return _outcome(ask(daemon, "POST", "/outpost/v1/load", model=name))
        case 1:
            return _outcome(ask(daemon, "POST", "/outpost/v1/unload", model=name))
        case 2:
            return _outcome(
                chat(daemon, name, max_tokens=chance.randrange(1, 24), keep_alive=chance.choice([0, 1, -1]))
            )
        case _:
            return _hang_up(daemon, name, after_s=chance.random())


def _outcome(answer: httpx.Response) -> str:
    return "200" if answer.status_code == 200 else str(answer.json()["error"]["code"])


def _hang_up(daemon: Daemon, name: str, *, after_s: float) -> str:
    body: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    try:
        with httpx.stream(
            "POST", daemon.url + "/v1/chat/completions", json=body, timeout=after_s, trust_env=False
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                return _outcome(answer)
    except httpx.TimeoutException:
        pass
    return "hung up"
