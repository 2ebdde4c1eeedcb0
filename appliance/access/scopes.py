"""What a key may do. Which route needs which of them stands in one table, `api/route_scopes.py`.

No scope holds another: a key has what its entry lists, and nothing else. Who has `keys:admin` may give any
scope to any key, also to his own: it is the root of all others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    INFER = "infer"
    """Have models answer."""
    MODELS_READ = "models:read"
    """List the models, and take them away."""
    MODELS_WRITE = "models:write"
    """Change what is stored, and send it elsewhere."""
    KEYS_ADMIN = "keys:admin"
    """Make, change and revoke keys."""
    METRICS = "metrics"
    """Read the counters, of all models."""
    SYSTEM = "system"
    """See the state of the machine and of all models, and what the requests of other keys do."""


DEFAULT: Final = frozenset({Scope.INFER})
"""Of a key whose entry lists none."""
