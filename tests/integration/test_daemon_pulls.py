"""Models on all their ways into a daemon's store: by URL, from a hub, quantised on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.gguf.values import ValueType
from tests.daemon import Daemon
from tests.fakes.damaged_gguf import split_in_two
from tests.fakes.gguf_corpus import seeds
from tests.fakes.model_files import generator
from tests.fakes.oci_registry_faults import Exchange, FaultyRegistry
from tests.integration.daemon_asking import ask, chat, health, lines, operate, served, succeeds

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path, server: FaultyRegistry) -> Iterator[Daemon]:
    config = f'[store]\nhub = "{server.url}"\n[store.hosts]\n"{server.host}" = {{ insecure = true }}\n'
    with Daemon(tmp_path / "one", models={}, config=config) as running:
        yield running


def file(content: bytes, etag: str = '"one"') -> Callable[[Exchange], None]:
    return lambda exchange: exchange.registry.serve(exchange, content, {"ETag": etag})


def blobs_of(daemon: Daemon) -> int:
    return len(list((daemon.data / "store/blobs/sha256").iterdir()))


# ── one file by its URL ─────────────────────────────────────────────────────────────────────────────


def test_a_gguf_behind_a_url_passes_the_gate_and_is_served(daemon: Daemon, server: FaultyRegistry) -> None:
    server.answer_with(r"/models/Tiny-F32\.gguf", file(generator().read_bytes()))
    told = lines(daemon, "pull", name=f"{server.url}/models/Tiny-F32.gguf?download=true")
    assert told[-1] == {"status": "success", "name": "tiny-f32:latest"}
    assert any(line.get("status") == "pulling Tiny-F32.gguf" and line.get("total") for line in told)
    assert "validating GGUF model" in [line["status"] for line in told]
    assert chat(daemon, "tiny-f32", max_tokens=2).status_code == 200
    succeeds(daemon, "pull", name=f"{server.url}/models/Tiny-F32.gguf", as_name="mine:v1")
    assert served(daemon) == {"tiny-f32:latest", "mine:v1"}
    assert list((daemon.data / "store/ingest").iterdir()) == []


def test_a_url_that_gives_no_model_gets_no_name(daemon: Daemon, server: FaultyRegistry) -> None:
    server.answer_with(r"/page\.gguf", file(b"<html>not found</html>" * 100))
    server.answer_with(r"/gone\.gguf", lambda exchange: exchange.send(404, b""))
    assert operate(daemon, "pull", name=f"{server.url}/page.gguf")["error"]["code"] == "model_invalid"
    assert operate(daemon, "pull", name=f"{server.url}/gone.gguf")["error"]["code"] == "remote_refused"
    assert operate(daemon, "pull", name="http://127.0.0.1:9/x.gguf")["error"]["code"] == "outbound_refused"
    assert not served(daemon)
    assert health(daemon)["live"]


@pytest.mark.parametrize("named", [1, 2])
def test_any_part_of_a_split_gguf_brings_all_of_them_as_one_model(
    daemon: Daemon, server: FaultyRegistry, tmp_path: Path, named: int
) -> None:
    parts = split_in_two(generator(), tmp_path / "a", tmp_path / "b")
    for number, part in enumerate(parts, 1):
        server.answer_with(rf"/big-0000{number}-of-00002\.gguf", file(part.read_bytes(), f'"{number}"'))
    succeeds(daemon, "pull", name=f"{server.url}/m/big-0000{named}-of-00002.gguf")
    assert served(daemon) == {"big:latest"}
    assert chat(daemon, "big", max_tokens=2).status_code == 200
    assert list((daemon.data / "store/ingest").iterdir()) == []


def test_a_split_gguf_whose_second_part_is_missing_costs_no_byte_of_the_first(
    daemon: Daemon, server: FaultyRegistry, tmp_path: Path
) -> None:
    first, _ = split_in_two(generator(), tmp_path / "a", tmp_path / "b")
    server.answer_with(r"/big-00001-of-00002\.gguf", file(first.read_bytes()))
    server.answer_with(r"/big-00002-of-00002\.gguf", lambda exchange: exchange.send(404, b""))
    failed = operate(daemon, "pull", name=f"{server.url}/big-00001-of-00002.gguf")
    assert failed["error"]["code"] == "remote_refused"
    assert [asked.headers.get("Range") for asked in server.asked_for("/big-00001")] == ["bytes=0-0"]
    wrong = operate(daemon, "pull", name=f"{server.url}/big-00003-of-00002.gguf")
    assert wrong["error"]["code"] == "invalid_value"
    assert blobs_of(daemon) == 0


# ── a hub of files ──────────────────────────────────────────────────────────────────────────────────


def serve_hub(server: FaultyRegistry, files: dict[str, bytes]) -> None:
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)},
        }
        for name, content in files.items()
    ]
    listing = json.dumps({"id": "alice/Tiny-GGUF", "siblings": siblings}).encode()
    server.answer_with(
        r"/api/models/alice/Tiny-GGUF\?blobs=true", lambda exchange: exchange.send(200, listing)
    )
    for name, content in files.items():
        server.answer_with(f"/alice/Tiny-GGUF/resolve/main/{name}$", file(content))


def test_a_repository_of_a_hub_passes_the_gate_and_is_served(daemon: Daemon, server: FaultyRegistry) -> None:
    serve_hub(
        server,
        {
            "Tiny-F32.gguf": generator().read_bytes(),
            "Tiny-Q4_K_M.gguf": generator(seed=2).read_bytes(),
            "Bad-Q2_K.gguf": b"GGUF" + bytes(4000),
        },
    )
    succeeds(daemon, "pull", name="hf.co/alice/Tiny-GGUF:F32", as_name="tiny")
    succeeds(daemon, "pull", name="hf.co/alice/Tiny-GGUF", as_name="small")
    assert chat(daemon, "tiny", max_tokens=2).status_code == 200
    assert chat(daemon, "small", max_tokens=2).status_code == 200
    bad = operate(daemon, "pull", name="hf.co/alice/Tiny-GGUF:Q2_K", as_name="bad")
    assert bad["error"]["code"] == "model_invalid"
    assert operate(daemon, "pull", name="hf.co/alice/Nothing")["error"]["code"] == "model_not_found"
    assert served(daemon) == {"tiny:latest", "small:latest"}


# ── quantised at create ─────────────────────────────────────────────────────────────────────────────


def test_a_model_quantised_at_create_is_adopted_probed_and_served(daemon: Daemon) -> None:
    recipe = f"FROM {generator()}\nSYSTEM Be brief."
    told = lines(daemon, "create", name="small", modelfile=recipe, base_dir="/", quantize="q4_K_M")
    assert told[-1] == {"status": "success", "name": "small:latest"}, told
    steps = [line["status"] for line in told]
    quantising = [line for line in told if line["status"].startswith("quantizing F32 model to q4_K_M")]
    assert [line["completed"] for line in quantising] == sorted(line["completed"] for line in quantising)
    assert quantising[-1]["completed"] == quantising[-1]["total"] == generator().stat().st_size
    assert steps.index(quantising[-1]["status"]) < steps.index("validating GGUF model")
    shown = ask(daemon, "GET", "/outpost/v1/models/small").json()
    assert shown["system"] == "Be brief."
    assert any(tensor["type"] not in {"F32", "F16"} for tensor in shown["tensors"])
    assert chat(daemon, "small", max_tokens=2).status_code == 200
    assert operate(daemon, "verify")["broken"] == []
    again = operate(daemon, "create", name="x", modelfile="FROM small", quantize="q8_0")
    assert "is Q4_K_M already" in again["error"]["message"]
    assert list((daemon.data / "store/ingest").iterdir()) == []


def test_a_base_that_is_quantised_already_is_not_pulled_in_vain(
    daemon: Daemon, server: FaultyRegistry
) -> None:
    quantised = seeds.generator().add("general.file_type", ValueType.UINT32, 3).render()
    serve_hub(
        server,
        {"Tiny-Q4_1.gguf": quantised + bytes(64 << 20), "Tiny-F32.gguf": generator().read_bytes()},
    )
    told = operate(daemon, "create", name="x", modelfile="FROM hf.co/alice/Tiny-GGUF:Q4_1", quantize="q8_0")
    assert "'hf.co/alice/Tiny-GGUF:Q4_1' is Q4_1 already" in told["error"]["message"]
    assert blobs_of(daemon) == 0
    assert list((daemon.data / "store/ingest").iterdir()) == []
    assert server.sent_bytes < 16 << 20
    succeeds(daemon, "create", name="small", modelfile="FROM hf.co/alice/Tiny-GGUF:F32", quantize="q4_K_M")
    assert chat(daemon, "small", max_tokens=2).status_code == 200
