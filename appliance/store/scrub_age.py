"""When the last round of the scrub ended, from what it leaves on disk: it outlives the process."""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.store.layout import Layout

_MAX_BYTES: Final = 4_096


class _Cursor(msgspec.Struct):
    after: str
    """Empty: between two rounds."""


def last_round_s(layout: Layout) -> float | None:
    """Unix time; None: a round is under way, or there was none."""
    path = layout.places.scrub
    try:
        with path.open("rb") as file:
            cursor = msgspec.json.decode(file.read(_MAX_BYTES), type=_Cursor)
        return None if cursor.after else path.stat().st_mtime
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
