"""`python -m tests.bench.store` (`make bench-store`): the store against plain tools, in turn, as ratios.

    import    Layout.adopt against `tee` to a file and `sha256sum` in one pass, both synced to the disk
    pull      copy from a registry on loopback against `curl` of the blob to a file, synced
    list      all rows of a store with 200 models, in milliseconds: in process, as the daemon's answer over
              HTTP, and as the whole command `outpost list`, with a daemon and without; the peak of memory
              while a file is adopted

Not part of any test: the disk of a shared machine swings more than any goal.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from appliance.store.content import unreported
from appliance.store.copy import copy
from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.http import Door
from appliance.store.layout import Layout
from appliance.store.manifest import render_manifest
from appliance.store.media_types import MODEL_CONFIG, OCI_MANIFEST
from appliance.store.outbound import HostSettings, Outbound
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from appliance.store.settings import StorePolicy
from appliance.store.store import ModelStore
from tests.bench import machine
from tests.crash.models import Model
from tests.daemon import STARTER, Daemon
from tests.fakes.debian_registry import DebianRegistry

_IMPORT_BYTES: Final = 512 << 20
_LISTED_MODELS: Final = 200
_LIST_GOAL_MS: Final = 100.0
_ALONE_GOAL_MS: Final = 200.0
_MEMORY_GOAL_MB: Final = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    work: str
    ours: float
    peer: float | None
    unit: str
    goal: str
    reached: bool


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--directory", type=Path, default=None, help="where the files lie (default: /var/tmp)"
    )
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory or "/var/tmp", prefix="outpost-store-") as folder:
        results = [
            *_import(Path(folder), options.rounds),
            _pull(Path(folder), options.rounds),
            *_list(Path(folder), options.rounds),
        ]
    print(f"{machine.sentence(machine.describe())}\n")
    for one in results:
        peer = f"{one.peer:8.1f} {one.unit}" if one.peer is not None else " " * 13
        word = "yes" if one.reached else "no"
        print(f"{one.work:48} ours {one.ours:8.1f} {one.unit:4} peer {peer} goal {one.goal:8} reached {word}")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in results], indent=1))
    return 0


def _import(folder: Path, rounds: int) -> list[Result]:
    source = folder / "large.gguf"
    piece = random.Random(1).randbytes(4 << 20)
    with source.open("wb") as file:
        for _ in range(_IMPORT_BYTES // len(piece)):
            file.write(piece)
    peaks: list[float] = []

    def ours(number: int) -> None:
        before = _rss_mb()
        with Layout(folder / f"import-{number}", files=Files()) as layout:
            layout.adopt(source, link=False, report=lambda _: peaks.append(_rss_mb() - before))

    def peer(number: int) -> None:
        target = folder / f"plain-{number}"
        _shell(f"tee {target} < {source} | sha256sum > /dev/null && sync {target}")

    mine, theirs = _in_turn(rounds, ours, peer, folder)
    speeds = [_IMPORT_BYTES / 1e6 / seconds for seconds in (mine, theirs)]
    return [
        Result(
            work="import of 512 MiB (tee and sha256sum)", ours=speeds[0], peer=speeds[1], unit="MB/s",
            goal=">= 0.8x", reached=speeds[0] >= 0.8 * speeds[1],
        ),
        Result(
            work="memory while it is imported", ours=max(peaks, default=0.0), peer=None, unit="MB",
            goal="< 50", reached=max(peaks, default=0.0) < _MEMORY_GOAL_MB,
        ),
    ]  # fmt: skip


def _pull(folder: Path, rounds: int) -> Result:
    with DebianRegistry(folder) as registry, Layout(folder / "pushed", files=Files()) as pushed:
        blob = pushed.adopt(STARTER, link=False, report=unreported)
        reference = parse_reference(f"{registry.host}/library/bench:latest")
        _publish(pushed, reference, blob)
        door = Door(Outbound(hosts={registry.host: HostSettings(insecure=True)}))
        copy(pushed, reference, RegistryTarget(door, reference))

        def ours(number: int) -> None:
            with Layout(folder / f"pull-{number}", files=Files()) as layout:
                copy(RegistrySource(door, reference), reference, layout)

        def peer(number: int) -> None:
            target = folder / f"curl-{number}"
            url = f"http://{registry.host}/v2/library/bench/blobs/{blob.digest}"
            _shell(f"curl -sSf -o {target} {url} && sync {target}")

        mine, theirs = _in_turn(rounds, ours, peer, folder)
    speeds = [blob.size / 1e6 / seconds for seconds in (mine, theirs)]
    return Result(
        work="pull of the starter model from loopback (curl)", ours=speeds[0], peer=speeds[1], unit="MB/s",
        goal=">= 0.7x", reached=speeds[0] >= 0.7 * speeds[1],
    )  # fmt: skip


def _list(folder: Path, rounds: int) -> list[Result]:
    daemon = Daemon(folder / "many", models={})
    policy = StorePolicy(outbound=Outbound(), hub=None, floor_fraction=0.05)
    with closing(ModelStore(daemon.data / "store", policy)) as store:
        for number in range(_LISTED_MODELS):
            Model(name=f"model-{number}:latest", layers=(number % 7,)).arrive(store.layout)
        in_process = _milliseconds(1, store.list)
    command = [str(Path(sys.executable).parent / "outpost"), "list", "--data", str(daemon.data)]
    alone = _milliseconds(rounds, lambda: _listed(command))
    with daemon:
        daemon.get("/outpost/v1/models")  # the first reads the manifests
        answer = _milliseconds(rounds, lambda: daemon.get("/outpost/v1/models"))
        asked = _milliseconds(rounds, lambda: _listed(command))
    return [
        _time("list of 200 models, in process", in_process, _LIST_GOAL_MS),
        _time("list of 200 models, the daemon's answer", answer, _LIST_GOAL_MS),
        _time("list of 200 models, the command", asked, _LIST_GOAL_MS),
        _time("list of 200 models, the command without a daemon", alone, _ALONE_GOAL_MS),
    ]


def _listed(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert done.stdout.count(b"\n") >= _LISTED_MODELS


def _milliseconds(rounds: int, work: Callable[[], object]) -> float:
    """The median."""
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds)


def _time(work: str, milliseconds: float, goal_ms: float) -> Result:
    return Result(
        work=work, ours=milliseconds, peer=None, unit="ms",
        goal=f"< {goal_ms:.0f}", reached=milliseconds < goal_ms,
    )  # fmt: skip


def _in_turn(
    rounds: int, ours: Callable[[int], None], peer: Callable[[int], None], folder: Path
) -> tuple[float, float]:
    """Medians of seconds; who begins changes from round to round, and nobody finds the other's files."""
    seconds: dict[Callable[[int], None], list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        for work in (ours, peer) if number % 2 else (peer, ours):
            begun = time.perf_counter()
            work(number)
            seconds[work].append(time.perf_counter() - begun)
            _shell(
                f"rm -rf {folder}/import-* {folder}/plain-* {folder}/pull-* {folder}/curl-*; sync -f {folder}"
            )
    return statistics.median(seconds[ours]), statistics.median(seconds[peer])


def _publish(layout: Layout, reference: Reference, weights: Descriptor) -> None:
    config = layout.put(b"{}", MODEL_CONFIG)
    manifest = Manifest(media_type=OCI_MANIFEST, config=config, layers=(weights,))
    content = render_manifest(manifest)
    descriptor = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(content), size=len(content))
    layout.publish(reference, Resolved(descriptor=descriptor, content=content))


def _shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)  # a benchmark's own text


def _rss_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


if __name__ == "__main__":
    sys.exit(main())
