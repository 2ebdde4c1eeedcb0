"""What a verified key may do, and how much: the key store answers with it, the exchange carries it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from appliance.access.scopes import DEFAULT, Scope
from appliance.errors import ScopeMissing

_DEFAULT_TAG: Final = ":latest"


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


NO_BOUNDS: Final = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Of one request: the key that asks, and what it may."""

    key_id: str
    """Empty: no key was sent, and none is needed for what is asked."""
    name: str = ""
    """What the operator calls it."""
    scopes: frozenset[Scope] = DEFAULT
    models: tuple[str, ...] = ()
    """Names or patterns of names (`*`, `?`) of models that it may ask; empty: all."""
    bounds: Bounds = NO_BOUNDS

    def allows(self, model: str) -> bool:
        """`model`: a name as `outpost list` shows it. Names are equal in any case, and a pattern without a
        tag means `latest`, as everywhere.
        """
        name = model.lower()
        return not self.models or any(
            fnmatchcase(name, wanted) or fnmatchcase(name, wanted + _DEFAULT_TAG)
            for wanted in (pattern.lower() for pattern in self.models)
        )

    def require(self, needed: frozenset[Scope]) -> None:
        """Raises ScopeMissing when it has none of the scopes in `needed`."""
        if self.scopes.isdisjoint(needed):
            raise ScopeMissing(key_id=self.key_id, needed=sorted(needed))


NOBODY: Final = Grant(key_id="", scopes=frozenset())
"""Of who sends no key to a door that asks for one: what is public, and nothing else."""
