"""One name, several quantisations: which of them a board takes, through a real registry, daemon and command.

The index is that of a release: three variants of one model, made by a daemon's own quantiser and pushed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.daemon import Daemon
from tests.e2e.store_commands import command, models, outpost
from tests.fakes import tiny_gguf
from tests.fakes.debian_registry import DebianRegistry, SlowWire

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
MIB: Final = 1024 * 1024
SHAPE: Final = tiny_gguf.Shape(n_layer=2, n_embd=256, n_head=8, n_head_kv=8, n_ff=1024, n_ctx_train=2048)
PROGRAM: Final = Path(__file__).parents[1] / "fakes" / "daemon_on_board.py"


class Board(Daemon):
    """A daemon whose memory is what the test says. Owned by the test."""

    def __init__(self, directory: Path, *, config: str) -> None:
        super().__init__(directory, models={}, config=config)
        self._sysroot = directory / "sysroot"
        self.set_available(64 * 1024 * MIB)

    def set_available(self, size_bytes: int) -> None:
        (self._sysroot / "proc").mkdir(parents=True, exist_ok=True)
        text = f"MemTotal:       67108864 kB\nMemAvailable:   {size_bytes // 1024} kB\n"
        (self._sysroot / "proc" / "meminfo").write_text(text)

    @property
    def command(self) -> list[str]:
        config = self.data.parent / "outpost.toml"
        return [sys.executable, str(PROGRAM), str(self._sysroot), str(config), str(self.data)]


@dataclass(frozen=True)
class Release:
    """What lies in the registry."""

    host: str
    digests: Mapping[str, str]
    """Of each variant's manifest."""
    needed: Mapping[str, int]
    """Bytes of memory that each asks for."""

    @property
    def name(self) -> str:
        return f"{self.host}/library/tiny"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with DebianRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def wire(registry: DebianRegistry) -> Iterator[SlowWire]:
    with SlowWire(registry.port, bytes_per_s=1_000_000_000) as counting:
        yield counting


@pytest.fixture(scope="module")
def release(registry: DebianRegistry, wire: SlowWire, tmp_path_factory: pytest.TempPathFactory) -> Release:
    directory = tmp_path_factory.mktemp("maker")
    weights = tiny_gguf.write_generator(directory / "tiny.gguf", shape=SHAPE)
    (directory / "Modelfile").write_text(f"FROM {weights}\n")
    with Daemon(directory, models={}, config=calling(registry.host)) as maker:
        outpost(maker, "import", str(weights), "tiny:f32")
        for kind in ("q8_0", "q4_0"):
            outpost(maker, "create", f"tiny:{kind}", "-f", str(directory / "Modelfile"), "-q", kind)
        for name in ("f32", "q8_0", "q4_0"):
            outpost(maker, "push", f"tiny:{name}", f"{registry.host}/library/tiny:{name}")
    return published(registry, wire.host)


def published(registry: DebianRegistry, host: str) -> Release:
    """Put the index under `latest`."""
    entries: list[dict[str, Any]] = []
    needed = {}
    base = f"http://{registry.host}/v2/library/tiny/manifests"
    with httpx.Client(trust_env=False, timeout=30) as client:
        for tag in ("f32", "q8_0", "q4_0"):
            answer = client.get(f"{base}/{tag}", headers={"Accept": MANIFEST})
            digest = answer.headers["Docker-Content-Digest"]
            entries.append({"mediaType": MANIFEST, "digest": digest, "size": len(answer.content)})
            weights = max(layer["size"] for layer in answer.json()["layers"])
            needed[tag] = -(-weights * 6 // 5) + 256 * MIB
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        put = client.put(f"{base}/latest", content=json.dumps(index), headers={"Content-Type": INDEX})
        assert put.status_code == 201, put.text
    digests = dict(zip(needed, (str(entry["digest"]) for entry in entries), strict=True))
    return Release(host=host, digests=digests, needed=needed)


@pytest.fixture
def board(release: Release, tmp_path: Path) -> Iterator[Board]:
    with Board(tmp_path, config=calling(release.host)) as running:
        yield running


def calling(host: str) -> str:
    return f'[memory]\nreserve_bytes = 1\n[store.hosts]\n"{host}" = {{ insecure = true }}\n'


def mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)


@pytest.mark.parametrize(
    ("fits", "label", "more"),
    [("f32", "F32", "the largest of 3 variants fits"), ("q8_0", "Q8_0", "the next larger, F32, would need")],
)
def test_the_best_that_fits_is_pulled_and_the_choice_is_told_everywhere(
    board: Board, release: Release, wire: SlowWire, fits: str, label: str, more: str
) -> None:
    board.set_available(release.needed[fits] + 1024)
    before = wire.bytes
    told = outpost(board, "pull", release.name, "--as", "mine").splitlines()
    (chosen,) = [line.removeprefix("chosen: ") for line in told if line.startswith("chosen: ")]
    assert chosen.startswith(f"{label} needs {mib(release.needed[fits])} MiB of ")
    assert more in chosen
    assert [line.split()[1] for line in told if line.startswith("variant ")] == ["Q4_0", "Q8_0", "F32"]
    model = models(board)["mine:latest"]
    assert (model["quantization"], model["digest"]) == (label, release.digests[fits])
    assert wire.bytes - before < 1.2 * model["size_bytes"], "another variant came, too"
    assert json.loads(outpost(board, "show", "mine", "--json"))["variant"] == chosen
    rows = [line.split(maxsplit=1) for line in outpost(board, "show", "mine").splitlines() if line]
    assert ["variant", chosen] in rows
    assert outpost(board, "run", "mine", "Hi", "--max-tokens", "2").strip()


def test_a_program_reads_the_variants_with_their_digests_and_the_choice(
    board: Board, release: Release
) -> None:
    board.set_available(release.needed["q4_0"] + 1024)
    told = [json.loads(line) for line in outpost(board, "pull", release.name, "--json").splitlines()]
    offered = {line["digest"] for line in told if line["status"].startswith("variant ")}
    assert offered == set(release.digests.values())
    assert sum(line["status"].startswith("chosen: Q4_0 needs") for line in told) == 1
    assert told[-1] == {"status": "success", "name": f"{release.name}:latest"}


def test_any_variant_can_be_asked_for_by_its_digest_whatever_the_memory(
    board: Board, release: Release
) -> None:
    board.set_available(64 * 1024 * MIB)
    outpost(board, "pull", release.name)
    assert models(board)[f"{release.name}:latest"]["quantization"] == "F32"
    board.set_available(MIB)
    told = outpost(board, "pull", f"{release.name}@{release.digests['q4_0']}")
    assert "chosen" not in told
    model = models(board)[f"{release.name}:latest"]
    assert (model["quantization"], model["digest"]) == ("Q4_0", release.digests["q4_0"])
    assert json.loads(outpost(board, "show", release.name, "--json"))["variant"] is None
    board.set_available(release.needed["q4_0"] + 1024)
    outpost(board, "pull", release.name)
    chosen = json.loads(outpost(board, "show", release.name, "--json"))["variant"]
    assert chosen.startswith("Q4_0 needs ")


def test_where_none_fits_the_numbers_are_told_and_nothing_comes(
    board: Board, release: Release, wire: SlowWire
) -> None:
    board.set_available(200 * MIB)
    before = wire.bytes
    refused = command(board, "pull", release.name)
    assert refused.returncode == 69
    assert f"needs {release.needed['q4_0'] / 1e6:.0f} MB, 210 MB are available" in refused.stderr
    told = command(board, "pull", release.name, "--json").stdout.splitlines()
    assert json.loads(told[-1])["error"]["code"] == "insufficient_memory"
    assert not models(board)
    assert wire.bytes - before < 100_000
    assert not list((board.data / "store" / "ingest").iterdir())
