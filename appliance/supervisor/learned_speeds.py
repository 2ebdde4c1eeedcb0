"""The file that remembers how fast models are on this board (`speed_watch.py`), so that one which comes back
slow after a restart is told from one that never was faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import ResourceError
from appliance.log import logger
from appliance.store.files import Files, read_small
from appliance.supervisor.baseline import Usual
from appliance.supervisor.speed_watch import Key

_log = logger("supervisor")
_FORMAT: Final = 1
_MOST_BYTES: Final = 1024 * 1024


class _Model(msgspec.Struct, frozen=True):
    key: tuple[str, ...]
    usual: list[tuple[int, int, float]]
    """Batch and depth as powers of two, steps per second."""


class _Kept(msgspec.Struct, frozen=True):
    format: int
    standing: str
    models: list[_Model]


class LearnedSpeeds:
    """One caller at a time. Never raises: what cannot be written is known until the daemon ends."""

    def __init__(self, path: Path, *, standing: Callable[[], str]) -> None:
        """`standing`: board, chip and build; what was learned on another says nothing here."""
        self._path = path
        self._standing = standing
        self._written: bytes | None = None

    def read(self) -> Mapping[Key, Usual]:
        try:
            raw = read_small(self._path, _MOST_BYTES)
            kept = msgspec.json.decode(raw, type=_Kept) if raw else None
        except (ResourceError, OSError, ValueError, RecursionError) as error:
            _log.warning("learned_speeds_not_read", path=str(self._path), reason=str(error))
            return {}
        if kept is None or kept.format != _FORMAT or kept.standing != self._standing():
            return {}
        return {one.key: _usual(one) for one in kept.models}

    def write(self, known: Mapping[Key, Usual]) -> None:
        """A small file, replaced as a whole; nothing without news."""
        models = [
            _Model(key=key, usual=[(batch, depth, round(rate, 3)) for (batch, depth), rate in usual.items()])
            for key, usual in known.items()
            if usual
        ]
        content = msgspec.json.encode(_Kept(format=_FORMAT, standing=self._standing(), models=models))
        if content == self._written or not models:
            return
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            Files().write_aside(self._path, content)
            self._written = content
        except (ResourceError, OSError) as error:
            _log.warning("learned_speeds_not_kept", path=str(self._path), reason=str(error))


def _usual(model: _Model) -> Usual:
    """Speeds that are none are none."""
    return {(batch, depth): rate for batch, depth, rate in model.usual if math.isfinite(rate) and rate > 0}
