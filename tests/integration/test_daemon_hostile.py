"""Hostile files on their whole way: a real daemon is asked to import them, alone and as parts of a model that
somebody else made. It lives, lists nothing, and says of each why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.daemon import Daemon
from tests.fakes.artifacts import OLLAMA, Artifact
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.forging import Kind
from tests.fakes.gguf_corpus.kinds import (
    BOMBS,
    COMPANIONS,
    CONTAINER,
    DIMENSIONS,
    EXPLOITS,
    TEMPLATE,
    TENSOR_TABLE,
    TOKENIZER,
    WEIGHTS,
)
from tests.fakes.stored_models import write_stick

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

FAMILIES: Final = (CONTAINER, TENSOR_TABLE, DIMENSIONS, TOKENIZER, TEMPLATE, BOMBS, COMPANIONS, EXPLOITS)


def some_of(family: tuple[Kind, ...]) -> list[Kind]:
    """Every so many of those that the static check refuses."""
    refused = [kind for kind in family if not kind.admitted]
    return refused[:: max(1, len(refused) // 4)]


SAMPLE: Final = [kind for family in FAMILIES for kind in some_of(family)]
DEADLY: Final = [kind for kind in WEIGHTS if kind.name != "weights_zero"]
"""What it lets pass and the probe finds."""
ROLES: Final = {seeds.projector: "projector", seeds.adapter: "adapter"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("hostile"), models={}) as running:
        yield running


def refusal(daemon: Daemon, path: Path) -> str:
    """Why an import was refused; with the same process it lives, serves and lists nothing."""
    pid = daemon.pid
    body = {"verb": "import", "path": str(path), "name": "hostile"}
    answer = httpx.post(f"{daemon.url}/outpost/v1/operations", json=body, timeout=60.0, trust_env=False)
    error: dict[str, Any] = json.loads(answer.text.strip().splitlines()[-1])["error"]
    assert error["code"] == "model_invalid", error
    assert daemon.process().is_running()
    assert daemon.pid == pid
    assert not json.loads(daemon.get("/outpost/v1/models"))["models"]
    assert not json.loads(daemon.get("/v1/models"))["data"]
    assert json.loads(daemon.get("/healthz"))["live"]
    return str(error["message"])


def reasons(daemon: Daemon) -> dict[str, str]:
    notes = [json.loads(path.read_bytes()) for path in (daemon.data / "store/quarantine").glob("*.json")]
    return {note["digest"]: note["reason"] for note in notes}


def test_the_sample_has_some_of_every_family() -> None:
    assert len(SAMPLE) >= 20
    assert all(any(kind in family for kind in SAMPLE) for family in FAMILIES)
    assert any(kind.name.startswith("projector_") for kind in SAMPLE)


@pytest.mark.parametrize("kind", SAMPLE, ids=lambda kind: kind.name)
def test_a_hostile_file_is_refused_and_not_taken_in(daemon: Daemon, tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(kind.render())
    before = reasons(daemon)
    assert "does not load: " in refusal(daemon, path)
    assert reasons(daemon) == before
    assert digest_of(kind.render()) not in {path.name for path in blobs(daemon)}


@pytest.mark.parametrize("kind", SAMPLE, ids=lambda kind: kind.name)
def test_a_hostile_part_of_a_model_is_in_quarantine_and_the_other_parts_are_not(
    daemon: Daemon, tmp_path: Path, kind: Kind
) -> None:
    role, content = ROLES.get(kind.seed), kind.render()
    artifact = Artifact()
    if role is not None:
        artifact.add(f"{OLLAMA}model", seeds.generator().render())
    artifact.add(f"{OLLAMA}{role or 'model'}", content)
    message = refusal(daemon, write_stick(tmp_path / "stick", "hostile", artifact))
    assert message.endswith(reasons(daemon)[f"sha256:{digest_of(content)}"])
    assert f"sha256:{digest_of(seeds.generator().render())}" not in reasons(daemon)


@pytest.mark.parametrize("kind", DEADLY, ids=lambda kind: kind.name)
def test_what_only_a_runner_can_find_is_in_quarantine(daemon: Daemon, tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(kind.render())
    assert "not finite" in refusal(daemon, path)
    assert "not finite" in reasons(daemon)[f"sha256:{digest_of(kind.render())}"]


def blobs(daemon: Daemon) -> list[Path]:
    return list((daemon.data / "store/blobs/sha256").iterdir())


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
