from __future__ import annotations

from tests.integration.supervisor.conftest import model, supervise

__all__ = ["model", "supervise"]
