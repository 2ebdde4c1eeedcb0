"""What `outpost list` tells of one stored model. Facts only."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.store.digest import Digest, hex_of

_ID_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """One name. Several names may stand for one model: then they have one digest."""

    name: str
    """As people write it: host and namespace left out where they are the default, the tag always there."""
    digest: Digest
    """Of the manifest."""
    size_bytes: int
    """Weights and everything else of it."""
    unique_bytes: int
    """What the disk gains when this one name is removed: bytes that no other name needs."""
    modified_s: float
    """Unix time at which the name began to stand for this."""
    architecture: str = ""
    parameters: str = ""
    """As the config says it: `135M`."""
    quantization: str = ""
    broken: str | None = None
    """Why it is not served; None: it is sound."""
    optimized: str | None = None
    """Which variant is served on this board, or why the measured one is not; None: never measured."""
    hint: str | None = None
    """What there may be to gain by another type of weights, unmeasured."""

    @property
    def id(self) -> str:
        """As Ollama shows it: the first 12 digits of the digest."""
        return hex_of(self.digest)[:_ID_DIGITS]
