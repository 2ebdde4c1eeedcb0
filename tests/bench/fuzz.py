"""Requests made from the OpenAPI document, by thousands, against the daemon with real runners of tiny models:
`make fuzz`. Prints what was answered, what was wrong with it, and how the daemon's memory grew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx
from gguf import PoolingType

from provision.bootstrap import clients
from tests.daemon import Daemon
from tests.fakes.tiny_gguf import write_embedder, write_generator

_CLIENT: Final = Path(__file__).parents[1] / "clients/fuzz_client.py"
_SCOPES: Final = ("infer", "models:read", "models:write", "keys:admin", "metrics", "system")
_CONFIG: Final = """
[server]
drain_s = 1.0
[engine]
n_ctx_seq = 256
"""
"""A short context: an answer without a bound ends soon."""


def fuzzed(directory: Path, *, requests: int, seed: int) -> dict[str, Any]:
    """`requests` of them after some for the warm-up. Faults and tracebacks are told and not raised."""
    directory.mkdir(parents=True, exist_ok=True)
    tiny, embed = directory / "tiny.gguf", directory / "embed.gguf"
    write_generator(tiny)
    write_embedder(embed, pooling=PoolingType.MEAN)
    with Daemon(directory / "daemon", models={"tiny": tiny, "embed": embed}, config=_CONFIG) as daemon:
        command = [str(clients.python()), "-I", str(_CLIENT), daemon.url, "tiny", "embed", _key(daemon)]
        began_s = time.monotonic()
        with subprocess.Popen(
            [*command, str(requests), str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin is not None and client.stdout is not None
            warm = json.loads(client.stdout.readline())
            before_bytes = daemon.process().memory_info().rss
            client.stdin.write("go on\n")
            client.stdin.flush()
            lines = client.stdout.read().splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
        return {
            "warm_up": warm["sent"],
            **found,
            "duration_s": round(time.monotonic() - began_s, 1),
            "rss_grown_bytes": daemon.process().memory_info().rss - before_bytes,
            "tracebacks": daemon.log().count("Traceback"),
            "health": json.loads(daemon.get("/healthz"))["status"],
        }


def _key(daemon: Daemon) -> str:
    answer = httpx.post(f"{daemon.url}/outpost/v1/keys", json={"scopes": _SCOPES}, trust_env=False)
    return str(answer.json()["key"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outpost-fuzz-") as directory:
        found = fuzzed(Path(directory), requests=told.requests, seed=told.seed)
    print(json.dumps({"seed": told.seed, **found}, indent=2))
    return 1 if found["faults"] or found["tracebacks"] else 0


if __name__ == "__main__":
    sys.exit(main())
