"""Models in and out of real daemons: import, run, serve to another Outpost and to skopeo, change, remove."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon import STARTER, Daemon
from tests.e2e.store_commands import command, environment, models, outpost
from tests.fakes.damaged_gguf import with_nan_weights
from tests.fakes.model_files import generator


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """With the starter model in its store."""
    with Daemon(tmp_path_factory.mktemp("first"), models={}) as daemon:
        told = outpost(daemon, "import", str(STARTER), "smollm2")
        assert told.splitlines()[-1] == "imported 'smollm2:latest'"
        yield daemon


@pytest.fixture
def second(first: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """May call the first one."""
    host, port = first.address
    config = f'[store.hosts]\n"{host}:{port}" = {{ insecure = true }}\n'
    with Daemon(tmp_path, models={}, config=config) as daemon:
        yield daemon


def address_of(daemon: Daemon) -> str:
    host, port = daemon.address
    return f"{host}:{port}"


def test_a_stored_model_is_listed_shown_and_run_by_its_name(first: Daemon) -> None:
    (model,) = json.loads(outpost(first, "list", "smol", "--json"))["models"]
    assert (model["name"], model["broken"]) == ("smollm2:latest", None)
    assert model["size_bytes"] >= STARTER.stat().st_size
    shown = json.loads(outpost(first, "show", "smollm2", "--json"))
    assert (shown["architecture"], shown["quantization"], shown["context_length"]) == ("llama", "Q4_1", 8192)
    assert "completion" in shown["capabilities"]
    assert shown["metadata"]["general.languages"] == ["en"]
    assert shown["tensors"]
    assert "general.languages" in outpost(first, "show", "smollm2", "-v")
    answer = outpost(first, "run", "smollm2", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    assert answer.strip()
    again = outpost(first, "run", "smollm2:latest", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    assert again == answer


def test_another_outpost_pulls_it_and_serves_it(first: Daemon, second: Daemon) -> None:
    told = outpost(second, "pull", f"{address_of(first)}/library/smollm2", "--as", "mine")
    assert told.splitlines()[-1] == "success"
    assert list(models(second)) == ["mine:latest"]
    assert models(second)["mine:latest"]["digest"] == models(first)["smollm2:latest"]["digest"]
    assert outpost(second, "run", "mine", "Hi", "--max-tokens", "4").strip()
    assert outpost(second, "verify").count("\n") >= 2


def test_skopeo_pulls_it_from_a_daemon(first: Daemon, tmp_path: Path) -> None:
    source = f"docker://{address_of(first)}/library/smollm2:latest"
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{tmp_path}/out:tag"]
    subprocess.run(copy, check=True, timeout=60, env=environment(tmp_path))
    with STARTER.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    assert (tmp_path / "out/blobs/sha256" / weights).stat().st_size == STARTER.stat().st_size


def test_a_change_costs_only_its_new_layers_and_takes_effect(first: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM smollm2\nSYSTEM Answer in one word.\nPARAMETER num_predict 3\n")
    told = outpost(first, "create", "brief", "-f", str(tmp_path / "Modelfile"))
    assert "using existing layer" in told
    (brief,) = json.loads(outpost(first, "list", "brief", "--json"))["models"]
    assert brief["unique_bytes"] < 64 * 1024
    assert outpost(first, "show", "brief", "--system") == "Answer in one word.\n"
    body = {"model": "brief", "messages": [{"role": "user", "content": "Tell me a story."}]}
    answer = httpx.post(f"{first.url}/v1/chat/completions", json=body, timeout=120, trust_env=False).json()
    assert answer["usage"]["completion_tokens"] <= 3
    outpost(first, "rm", "brief")
    assert "brief:latest" not in models(first)


def test_export_and_import_carry_a_model_to_another_outpost(
    first: Daemon, second: Daemon, tmp_path: Path
) -> None:
    for target in (tmp_path / "stick", tmp_path / "model.tar"):
        outpost(first, "export", "smollm2", str(target))
        assert "imported 'smollm2:latest'" in outpost(second, "import", str(target))
        outpost(second, "rm", "smollm2")
    assert not models(second)
    assert "freed" in outpost(second, "gc")


def test_a_missing_model_says_how_to_get_it(first: Daemon) -> None:
    done = command(first, "run", "nothing", "Hi")
    assert done.returncode == 66
    assert "outpost pull" in done.stderr


def test_a_host_that_is_not_configured_is_not_called(first: Daemon) -> None:
    done = command(first, "pull", "registry.example/library/smollm2")
    assert (done.returncode, "[store] hosts" in done.stderr) == (77, True)


def quarantined(daemon: Daemon) -> dict[str, str]:
    """Reasons by digest."""
    notes = [json.loads(path.read_bytes()) for path in (daemon.data / "store/quarantine").glob("*.json")]
    return {note["digest"]: note["reason"] for note in notes}


def test_a_file_that_is_no_model_is_refused_before_it_is_taken_in(first: Daemon, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(STARTER.read_bytes()[: 1 << 20])
    before = blobs(first)
    done = command(first, "import", str(bad), "bad")
    assert (done.returncode, "the file ends" in done.stderr) == (65, True)
    assert list(models(first)) == ["smollm2:latest"]
    assert blobs(first) == before
    assert digest_of(bad) not in quarantined(first)


def test_what_fails_in_the_store_is_quarantined_with_its_reason(first: Daemon, tmp_path: Path) -> None:
    bad = with_nan_weights(generator(), tmp_path / "bad.gguf")
    done = command(first, "import", str(bad), "bad")
    assert (done.returncode, "not finite" in done.stderr) == (65, True)
    assert list(models(first)) == ["smollm2:latest"]
    assert "not finite" in quarantined(first)[digest_of(bad)]
    assert digest_of(bad) not in blobs(first)


def blobs(daemon: Daemon) -> set[str]:
    return {f"sha256:{path.name}" for path in (daemon.data / "store/blobs/sha256").iterdir()}


def digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
