"""What a key may do. Which route needs which of them stands in one table, `api/route_scopes.py`.

No scope holds another: a key has what its entry lists, and nothing else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    INFERENCE = "inference"
    """Have models answer."""
    MODELS_READ = "models:read"
    """List the models, and take them away."""
    MODELS_WRITE = "models:write"
    """Change what is stored, and send it elsewhere."""
    METRICS = "metrics"
    """Read the counters."""
    ADMIN = "admin"
    """See what the requests of other keys do."""


DEFAULT: Final = frozenset({Scope.INFERENCE})
"""Of a key whose entry lists none."""
