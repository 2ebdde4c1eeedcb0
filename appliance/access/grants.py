"""What a verified key may do, and how much: the key store answers with it, the exchange carries it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from appliance.access.scopes import DEFAULT, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a key may ask for; None: as much as there is."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    """Prompt and output tokens together, as the two below."""
    tokens_per_day: int | None = None
    concurrency: int | None = None
    """Requests at work or waiting at once."""
    max_context: int | None = None
    """Tokens of one request: its prompt and the most that it may be answered with."""
    background_only: bool = False
    """Its requests never come before those of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Of one request: the key that asks, and what it may."""

    key_id: str
    name: str = ""
    """What the operator calls it."""
    scopes: frozenset[Scope] = DEFAULT
    models: tuple[str, ...] = ()
    """Names or patterns of names (`*`, `?`) of models that it may ask; empty: all."""
    bounds: Bounds = Bounds()

    def allows(self, model: str) -> bool:
        """`model`: a name as `outpost list` shows it."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)
