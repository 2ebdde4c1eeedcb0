"""Names of models: `[HOST/][NAMESPACE/]MODEL[:TAG][@sha256:...]`, with Ollama's defaults. One parser, used at
every door.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.store.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A whole name: what was left out is filled in. Made by `parse_reference`."""

    host: str
    namespace: str
    """May hold slashes, as OCI repositories do."""
    model: str
    tag: str
    digest: Digest | None = None
