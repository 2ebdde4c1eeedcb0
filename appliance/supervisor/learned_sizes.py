"""The file that remembers what loads took on this board (`planner/learning.py`)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from appliance.errors import ResourceError
from appliance.log import logger
from appliance.planner.learning import Learned, decoded
from appliance.store.files import Files, read_small

_log = logger("sizer")
_MOST_BYTES: Final = 1024 * 1024


class LearnedSizes:
    """Any thread. Never raises: what cannot be written is known until the daemon ends."""

    def __init__(self, path: Path, *, board: str) -> None:
        self._path = path
        self._board = board
        self._lock = threading.Lock()
        self._learned = _read(path)

    def observe(self, *, model: str, planned_bytes: int, measured_bytes: int) -> float | None:
        """Both of the same moment; returns measured over planned as it is known now. Writes a small file."""
        with self._lock:
            self._learned = self._learned.with_load(
                board=self._board, model=model, planned_bytes=planned_bytes, measured_bytes=measured_bytes
            )
            try:
                self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                Files().write_aside(self._path, self._learned.encoded())
            except (ResourceError, OSError) as error:
                _log.warning("learned_sizes_not_kept", path=str(self._path), reason=str(error))
            return self._learned.ratio(board=self._board, model=model)

    def corrected_bytes(self, planned_bytes: int, *, model: str) -> int:
        return self._learned.corrected_bytes(planned_bytes, board=self._board, model=model)


def _read(path: Path) -> Learned:
    try:
        raw = read_small(path, _MOST_BYTES)
    except (ResourceError, OSError) as error:
        _log.warning("learned_sizes_not_read", path=str(path), reason=str(error))
        return Learned()
    return Learned() if raw is None or len(raw) > _MOST_BYTES else decoded(raw)
