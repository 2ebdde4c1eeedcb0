"""One real daemon for the whole session: the starter model, two tiny ones, two files that are no models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import PoolingType
from openai import OpenAI

from tests.daemon import STARTER, STARTER_NAME, Daemon
from tests.fakes import tiny_gguf

N_CTX_SEQ = 2048
_CONFIG = f"""
[engine]
n_ctx_seq = {N_CTX_SEQ}
n_seq_max = 64
"""


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Tests that kill or break something start their own."""
    assert STARTER.exists(), "the starter model is missing: `make run` puts it into place"
    directory = tmp_path_factory.mktemp("daemon")
    models = {
        STARTER_NAME: STARTER,
        "tiny": tiny_gguf.write_generator(directory / "tiny.gguf"),
        "tiny-infill": tiny_gguf.write_generator(directory / "tiny-infill.gguf", infill=True),
        "tiny-embed": tiny_gguf.write_encoder(directory / "tiny-embed.gguf", pooling=PoolingType.MEAN),
        "truncated": _truncated(directory / "truncated.gguf"),
        "garbage": _garbage(directory / "garbage.gguf"),
    }
    with Daemon(directory, models=models, config=_CONFIG) as running:
        yield running


@pytest.fixture(scope="session")
def client(daemon: Daemon) -> Iterator[OpenAI]:
    """The real SDK. No retries: a test must see the first answer."""
    with openai_client(daemon) as opened:
        yield opened


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the test's own, with the starter model, to be broken."""
    with Daemon(tmp_path, models={STARTER_NAME: STARTER}, config=_CONFIG) as running:
        yield running


def openai_client(daemon: Daemon) -> OpenAI:
    return OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0, timeout=120.0)


def _truncated(path: Path) -> Path:
    """Header and metadata are whole; the tensors end early."""
    whole = tiny_gguf.write_generator(path).read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    return path


def _garbage(path: Path) -> Path:
    path.write_bytes(b"GGUF" + bytes(range(256)) * 64)
    return path
