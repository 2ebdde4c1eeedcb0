"""A daemon that comes back to a slower board says so: what was usual is known over restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openai import OpenAI

from tests.daemon import STARTER, STARTER_NAME, Daemon
from tests.e2e.asking import chat, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

QUIET = """
[engine]
n_threads = 1
[server]
drain_s = 2
"""


def ask(daemon: Daemon, *, times: int) -> None:
    client = OpenAI(base_url=f"{daemon.url}/v1", api_key="none")
    for number in range(times):
        chat(client, f"Tell me about the number {number}.", max_tokens=40, extra_body={"ignore_eos": True})


def test_a_board_that_is_slower_after_a_restart_is_told(tmp_path: Path) -> None:
    with Daemon(tmp_path, models={STARTER_NAME: STARTER}, config=QUIET) as daemon:
        ask(daemon, times=6)
        daemon.stop()
        kept = daemon.data / "plans" / "speeds.json"
        known = json.loads(kept.read_bytes())
        (model,) = known["models"]
        assert all(rate > 0 for _, _, rate in model["usual"])
        assert model["usual"]

        # As if it had been ten times as fast until yesterday.
        model["usual"] = [[batch, depth, 10 * rate] for batch, depth, rate in model["usual"]]
        kept.write_text(json.dumps(known))
        daemon.start()
        ask(daemon, times=4)
        wait_until(
            lambda: "of its usual" in str(json.loads(daemon.get("/healthz")).get("degraded")),
            within_s=10,
            what="health tells it",
        )
