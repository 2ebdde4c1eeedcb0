"""A bound on what a runner may say that is for no request."""

from __future__ import annotations

from typing import Final

from appliance.wire.channel import ProtocolError

_MOST_PER_S: Final = 500
"""Frames that carry nothing for a request (heartbeats, load progress, empty steps): more is a flood."""


class IdleFrames:
    """Owned by the runner's reader thread."""

    def __init__(self) -> None:
        self._count = 0
        self._since_s = 0.0

    def count(self, now_s: float) -> None:
        """One more. Raises ProtocolError."""
        if now_s - self._since_s > 1.0:
            self._since_s, self._count = now_s, 0
        self._count += 1
        if self._count > _MOST_PER_S:
            raise ProtocolError(f"a flood of more than {_MOST_PER_S} empty frames in a second")
