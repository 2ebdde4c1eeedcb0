"""Tiny models, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.tiny_gguf import write_generator


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("models") / "tiny.gguf")
