"""Another machine failed."""

from __future__ import annotations

from appliance.errors.base import OutpostError


class RemoteError(OutpostError):
    """Not our fault and not the caller's; a retry may help."""


class RemoteUnreachable(RemoteError):
    def __init__(self, *, host: str, reason: str) -> None:
        super().__init__(f"{host} does not answer: {reason}", host=host, reason=reason)


class RemoteRefused(RemoteError):
    def __init__(self, *, host: str, status: int, reason: str) -> None:
        super().__init__(f"{host} refused ({status}): {reason}", host=host, status=status, reason=reason)
