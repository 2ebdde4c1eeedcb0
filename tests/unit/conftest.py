"""What unit tests of several packages stand on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from appliance import log


@pytest.fixture
def put_back_logging() -> Iterator[None]:
    """Leave logging as it was: pytest's own handlers hang on it too."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    log.clear()
