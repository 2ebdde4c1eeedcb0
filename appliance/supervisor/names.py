"""How the names in requests are compared with those of the models: the default rule, and the type of others.

The daemon gives the store's own rule in its place; the supervisor knows no more of names than this.
"""

from __future__ import annotations

from collections.abc import Callable

Resolve = Callable[[str], str]
"""A name as it was asked for → the key it is compared by. Pure; may raise a RequestError."""

_DEFAULT_TAG = ":latest"


def plain_key(name: str) -> str:
    """Case does not count, and a name without a tag means `:latest`."""
    folded = name.casefold()
    return folded if ":" in folded.rpartition("/")[2] else folded + _DEFAULT_TAG
