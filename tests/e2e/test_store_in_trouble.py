"""A daemon's store when things go wrong: broken bytes, broken off pulls, models in use, hostile names."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon import Daemon
from tests.e2e.store_commands import argv, command, environment, models, outpost
from tests.fakes import tiny_gguf
from tests.fakes.debian_registry import DebianRegistry, SlowWire
from tests.fakes.hostile_names import HOSTILE_NAMES

OPERATIONS = "/outpost/v1/operations"
WIRE_BYTES_PER_S = 2_000_000
SHAPE = tiny_gguf.Shape(n_layer=2, n_embd=256, n_head=8, n_head_kv=8, n_ff=1024, n_ctx_train=2048)
"""8 MB: four seconds on the wire."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with DebianRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def wire(registry: DebianRegistry) -> Iterator[SlowWire]:
    """A slow way to the registry."""
    with SlowWire(registry.port, bytes_per_s=WIRE_BYTES_PER_S) as slow:
        yield slow


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_generator(tmp_path_factory.mktemp("model") / "tiny.gguf", shape=SHAPE)


@pytest.fixture(scope="module")
def daemon(
    registry: DebianRegistry,
    wire: SlowWire,
    model_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    """With a model, which is in the registry too."""
    config = calling(registry.host, wire.host)
    with Daemon(tmp_path_factory.mktemp("daemon"), models={}, config=config) as running:
        outpost(running, "import", str(model_file), "tiny")
        outpost(running, "push", "tiny", f"{registry.host}/library/tiny")
        yield running


@pytest.fixture
def fresh(daemon: Daemon, registry: DebianRegistry, wire: SlowWire, tmp_path: Path) -> Iterator[Daemon]:
    """An empty one; the registry has the model."""
    assert models(daemon)
    with Daemon(tmp_path, models={}, config=calling(registry.host, wire.host)) as running:
        yield running


def calling(*hosts: str) -> str:
    """A configuration that names these."""
    return "[store.hosts]\n" + "".join(f'"{host}" = {{ insecure = true }}\n' for host in hosts)


def blob_of(daemon: Daemon) -> Path:
    """The largest: the weights."""
    blobs = (daemon.data / "store" / "blobs" / "sha256").iterdir()
    return max(blobs, key=lambda path: path.stat().st_size)


def test_a_pull_that_is_broken_off_again_and_again_goes_on(
    fresh: Daemon, wire: SlowWire, model_file: Path
) -> None:
    name = f"{wire.host}/library/tiny"
    before = wire.bytes
    for _ in range(3):
        pulling = subprocess.Popen(
            argv(fresh, "pull", name),
            env=environment(fresh.data),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(1.5)
        pulling.send_signal(signal.SIGINT)
        _, told = pulling.communicate(timeout=30)
        assert pulling.returncode == 130
        assert "the next try goes on from there" in told
        assert not models(fresh)
    outpost(fresh, "pull", name)
    assert len(models(fresh)) == 1
    assert wire.bytes - before < 1.3 * model_file.stat().st_size


def test_two_pulls_at_once_share_the_work(fresh: Daemon, wire: SlowWire, model_file: Path) -> None:
    name, before = f"{wire.host}/library/tiny", wire.bytes
    pulls = [
        subprocess.Popen(
            argv(fresh, "pull", name, "--as", f"copy-{number}"),
            env=environment(fresh.data),
            stdout=subprocess.DEVNULL,
        )
        for number in range(2)
    ]
    assert [pull.wait(60) for pull in pulls] == [0, 0]
    assert sorted(models(fresh)) == ["copy-0:latest", "copy-1:latest"]
    assert wire.bytes - before < 1.3 * model_file.stat().st_size


def test_a_daemon_stops_at_once_in_mid_pull_and_the_next_one_goes_on(fresh: Daemon, wire: SlowWire) -> None:
    name = f"{wire.host}/library/tiny"
    pulling = subprocess.Popen(
        argv(fresh, "pull", name), env=environment(fresh.data), stdout=subprocess.DEVNULL
    )
    time.sleep(2.0)
    began_s = time.monotonic()
    fresh.stop()
    assert time.monotonic() - began_s < 12
    assert pulling.wait(30) in {69, 75}
    fresh.start()
    assert not models(fresh)
    outpost(fresh, "pull", name)
    assert len(models(fresh)) == 1


def test_zeroed_weights_are_found_told_never_served_and_repaired(
    fresh: Daemon, registry: DebianRegistry
) -> None:
    name = f"{registry.host}/library/tiny"
    outpost(fresh, "pull", name, "--as", "tiny")
    weights = blob_of(fresh)
    weights.chmod(0o644)
    with weights.open("r+b") as file:
        file.seek(4 << 20)
        file.write(bytes(4096))
    found = command(fresh, "verify")
    assert (found.returncode, "tiny" in found.stdout) == (65, True)
    (broken,) = models(fresh).values()
    assert broken["broken"]
    refused = command(fresh, "run", "tiny", "Hi", "--max-tokens", "2")
    assert (refused.returncode, "broken" in refused.stderr) == (65, True)
    digest = f"sha256:{weights.name}"
    served = httpx.get(f"{fresh.url}/v2/library/tiny/blobs/{digest}", trust_env=False)
    assert served.status_code in {404, 503}
    outpost(fresh, "pull", name, "--as", "tiny")
    assert outpost(fresh, "run", "tiny", "Hi", "--max-tokens", "2").strip()
    assert command(fresh, "verify").returncode == 0


def test_a_zeroed_index_keeps_no_daemon_from_serving_and_one_command_builds_it_again(
    model_file: Path, tmp_path: Path
) -> None:
    with Daemon(tmp_path, models={"fixed": model_file}) as daemon:
        outpost(daemon, "import", str(model_file), "tiny")
        outpost(daemon, "cp", "tiny", "other")
        daemon.stop()
        index = daemon.data / "store" / "index.json"
        index.write_bytes(bytes(index.stat().st_size))
        daemon.start()
        assert outpost(daemon, "run", "fixed", "Hi", "--max-tokens", "2").strip()
        refused = command(daemon, "list")
        assert (refused.returncode, "outpost verify --rebuild-index" in refused.stderr) == (74, True)
        assert "built again with 2 names" in outpost(daemon, "verify", "--rebuild-index")
        assert sorted(models(daemon)) == ["other:latest", "tiny:latest"]
        assert outpost(daemon, "run", "tiny", "Hi", "--max-tokens", "2").strip()


def test_a_model_can_be_removed_while_it_answers(daemon: Daemon) -> None:
    outpost(daemon, "cp", "tiny", "short-lived")
    body = {
        "model": "short-lived",
        "messages": [{"role": "user", "content": "Count."}],
        "stream": True,
        "max_tokens": 100,
        "ignore_eos": True,
    }
    with httpx.stream(
        "POST", f"{daemon.url}/v1/chat/completions", json=body, timeout=120, trust_env=False
    ) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        next(lines)
        removed = command(daemon, "rm", "short-lived")
        assert removed.returncode in {0, 75}, removed.stderr
        rest = list(lines)
    ended = [json.loads(line[6:]) for line in rest if line != "data: [DONE]"]
    # It answers to its end, or says with a typed error why not: never a cut stream.
    assert rest[-1] == "data: [DONE]" or "error" in ended[-1]
    outpost(daemon, "gc")
    assert outpost(daemon, "run", "tiny", "Hi", "--max-tokens", "2").strip()
    with contextlib.suppress(AssertionError):
        outpost(daemon, "rm", "short-lived")


def test_hostile_names_change_nothing_through_any_verb(daemon: Daemon, model_file: Path) -> None:
    before = _tree(daemon.data.parent)
    with httpx.Client(base_url=daemon.url, timeout=30, trust_env=False) as client:
        for name in HOSTILE_NAMES:
            if not _encodable(name):
                continue
            for body in (
                {"verb": "pull", "name": name},
                {"verb": "push", "name": "tiny", "target": name},
                {"verb": "create", "name": name, "modelfile": "FROM tiny"},
                {"verb": "create", "name": "evil", "modelfile": f"FROM {name}"},
                {"verb": "import", "path": str(model_file), "name": name},
                {"verb": "export", "name": name, "path": str(daemon.data / "out")},
                {"verb": "copy", "source": "tiny", "destination": name},
                {"verb": "remove", "name": name},
                {"verb": "verify", "name": name},
            ):
                answer = client.post(OPERATIONS, json=body)
                last = json.loads(answer.text.splitlines()[-1])
                assert 400 <= answer.status_code < 500 or "error" in last, (body, answer.text)
    assert _tree(daemon.data.parent) == before
    assert list(models(daemon)) == ["tiny:latest"]


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tree(directory: Path) -> set[str]:
    """All files but what is arriving and the store's own notes (`scrub.json` …), which upkeep may write."""
    return {
        str(path)
        for path in directory.rglob("*")
        if "ingest" not in path.parts and not (path.parent.name == "store" and path.suffix == ".json")
    }


def test_many_lists_during_a_pull_are_answered(fresh: Daemon, wire: SlowWire) -> None:
    """The store's locks keep nobody out who only looks."""
    pulling = subprocess.Popen(
        argv(fresh, "pull", f"{wire.host}/library/tiny"),
        env=environment(fresh.data),
        stdout=subprocess.DEVNULL,
    )
    slowest_s, stop = [0.0], threading.Event()

    def look() -> None:
        with httpx.Client(base_url=fresh.url, trust_env=False) as client:
            while not stop.wait(0.05):
                began_s = time.monotonic()
                assert client.get("/outpost/v1/models").status_code == 200
                slowest_s[0] = max(slowest_s[0], time.monotonic() - began_s)

    looking = threading.Thread(target=look, name="looking")
    looking.start()
    try:
        assert pulling.wait(60) == 0
    finally:
        stop.set()
        looking.join(10)
    assert slowest_s[0] < 3.0
