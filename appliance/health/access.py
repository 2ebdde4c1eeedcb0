"""What the health report tells of who may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessHealth:
    is_key_needed: bool
    keys: int
    """That are neither expired nor revoked."""
    is_claim_pending: bool
    """Nobody may change keys over the network before it is taken."""
    trusted_subnets: tuple[str, ...] = ()
    unaudited: int = 0
    """Changes since the start that the audit log could not take."""
