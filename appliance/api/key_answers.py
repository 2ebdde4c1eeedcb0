"""The shapes of the answers about keys, for the OpenAPI document; tests hold what the handlers write against
them.
"""

from __future__ import annotations

from typing import Literal

from appliance.access.keys import KeyState
from appliance.api.answers import Answer


class KeyAnswer(Answer):
    """A key, without its secret. Times are Unix times."""

    id: str
    object: Literal["key"]
    name: str
    note: str
    state: KeyState
    source: Literal["configuration", "store"]
    scopes: list[str]
    models: list[str]
    """Empty: all."""
    requests_per_min: int | None
    tokens_per_min: int | None
    tokens_per_day: int | None
    concurrency: int | None
    max_context: int | None
    background_only: bool
    created_s: float | None
    expires_s: float | None
    revoked_s: float | None
    last_used_s: float | None
    previous_until_s: float | None
    """So long the secret before the last rotation holds, too."""


class MadeKeyAnswer(KeyAnswer):
    key: str
    """The key itself: shown once, and never again."""


class KeysAnswer(Answer):
    object: Literal["list"]
    data: list[KeyAnswer]
