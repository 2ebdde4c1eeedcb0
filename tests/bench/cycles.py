"""`python -m tests.bench.cycles`: 200 random loads, stops, requests and hang-ups of two models in memory that
holds one. The kernel must kill nothing, and each request is answered or refused with a typed error.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx

from tests.daemon import STARTER, Daemon
from tests.fakes.memory_bound import MemoryBound, memory_bound
from tests.integration.daemon_asking import ask, chat

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
EXPECTED: Final = frozenset({"200", "hung up", "model_loading", "insufficient_memory"})


def random_acts(daemon: Daemon, count: int) -> Counter[str]:
    """The same walk in every run."""
    chance = random.Random(4)
    return Counter(_one_act(daemon, chance) for _ in range(count))


def told(outcomes: Counter[str], bound: MemoryBound) -> str:
    return (
        f"{sum(outcomes.values())} random acts under {bound.limit_bytes / MIB:.0f} MiB: "
        f"{json.dumps(outcomes)}, {bound.oom_kills()} killed for memory"
    )


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--acts", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outpost-cycles-") as folder:
        directory = Path(folder)
        with (
            memory_bound(ONE_MODEL, directory / "board") as bound,
            Daemon(
                directory / "d", models={"a": STARTER, "b": STARTER}, config=CONFIG, bound=bound
            ) as daemon,
        ):
            began = time.monotonic()
            outcomes = random_acts(daemon, arguments.acts)
            print(told(outcomes, bound), f"in {time.monotonic() - began:.0f} s")
            return int(bound.oom_kills() > 0 or not set(outcomes) <= EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
