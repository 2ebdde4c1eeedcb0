"""The starter model through all verbs and a real registry, as README.md shows them, by the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import STARTER, Daemon
from tests.e2e.store_commands import OUTPOST, environment, models, outpost
from tests.fakes import tiny_gguf
from tests.fakes.debian_registry import DebianRegistry

STARTER_SHAPE = tiny_gguf.Shape(n_layer=30, n_embd=576, n_head=9, n_head_kv=3, n_ff=1536, n_ctx_train=8192)
GREEDY = ("--max-tokens", "12", "--temperature", "0")
QUESTION = "Name three rivers."


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with DebianRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def board(registry: DebianRegistry, tmp_path: Path) -> Iterator[Daemon]:
    config = f'[store.hosts]\n"{registry.host}" = {{ insecure = true }}\n'
    with Daemon(tmp_path / "board", models={}, config=config) as daemon:
        yield daemon


def test_the_starter_model_goes_through_every_verb(
    board: Daemon, registry: DebianRegistry, tmp_path: Path
) -> None:
    outpost(board, "import", str(STARTER), "smollm2")
    answer = outpost(board, "run", "smollm2", QUESTION, *GREEDY)

    tiny_gguf.write_adapter(tmp_path / "rivers.gguf", shape=STARTER_SHAPE)
    (tmp_path / "Modelfile").write_text("FROM smollm2\nADAPTER ./rivers.gguf\nSYSTEM You know rivers.\n")
    outpost(board, "create", "rivers", "-f", str(tmp_path / "Modelfile"))
    assert outpost(board, "run", "rivers", QUESTION, *GREEDY) != answer
    assert models(board)["rivers:latest"]["unique_bytes"] < 4 * 1024 * 1024

    outpost(board, "cp", "rivers", "team/rivers:v1")
    assert models(board)["team/rivers:v1"]["digest"] == models(board)["rivers:latest"]["digest"]

    there = f"{registry.host}/team/rivers:v1"
    assert outpost(board, "push", "rivers", there).splitlines()[-1] == "success"
    copied = [
        "skopeo",
        "copy",
        "-q",
        "--src-tls-verify=false",
        f"docker://{there}",
        f"oci:{tmp_path}/out:tag",
    ]
    subprocess.run(copied, check=True, timeout=60, env=environment(tmp_path))
    examined = [str(OUTPOST), "verify", "--layout", f"{tmp_path}/out"]
    subprocess.run(examined, check=True, timeout=60, env=environment(tmp_path))

    pushed = models(board)["rivers:latest"]["digest"]
    outpost(board, "rm", "rivers", "team/rivers:v1", "smollm2")
    assert models(board) == {}
    assert outpost(board, "gc", "--grace", "0").startswith("freed")
    assert outpost(board, "pull", there).splitlines()[-1] == "success"
    ((name, pulled),) = models(board).items()
    assert pulled["digest"] == pushed
    outpost(board, "cp", name, "rivers")
    assert outpost(board, "run", "rivers", QUESTION, *GREEDY) != answer

    outpost(board, "export", "rivers", str(tmp_path / "rivers.tar"))
    outpost(board, "rm", "rivers", name)
    assert "imported 'rivers:latest'" in outpost(board, "import", str(tmp_path / "rivers.tar"))
    assert models(board)["rivers:latest"]["digest"] == pushed
    assert "success" in outpost(board, "verify")
