"""What was measured of models on this board, as the daemon uses it: one file below the data directory.

A record of another board, chip or build is not used, and is told as what it is.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import structs

from appliance.calibrating.record import MOST_BYTES, Book, Record, decoded
from appliance.calibrating.values import Choice, Findings
from appliance.errors import ResourceError
from appliance.hardware import board
from appliance.hardware.root import Root
from appliance.log import logger
from appliance.optimizing.standing import Standing
from appliance.planner.prices import PriceTable
from appliance.store.files import Files, read_small

_log = logger("calibration")

FILE: Final = "calibration.json"
"""Below `plans` in the data directory."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What there is of one model."""

    record: Record
    stale: str | None
    """Why it is not used."""

    @property
    def sentence(self) -> str:
        """For `ps` and `show`."""
        if self.stale is None:
            return self.record.sentence
        return f"the calibration of {self.record.day} is not used: {self.stale}"


class Calibrations:
    """Any thread. Never raises for what is on the disk: garbage is no calibration."""

    def __init__(
        self,
        path: Path,
        *,
        standing: Callable[[], Standing],
        board_name: str,
        files: Files = Files(),  # noqa: B008 - stateless
    ) -> None:
        self._path = path
        self._standing = standing
        self._board = board_name
        self._files = files
        self._lock = threading.Lock()
        self._book = _read(path)

    @property
    def board(self) -> str:
        return self._board

    def find(self, paths: Sequence[str]) -> Calibrated | None:
        """Of the model that lies in these files."""
        model = identity_of(paths)
        record = None if model is None else self._book.find(model, self._board)
        if record is None:
            return None
        return Calibrated(record=record, stale=record.stale(self._standing(), self._board))

    def prices(self, paths: Sequence[str], common: PriceTable) -> PriceTable:
        """`common` with what was measured."""
        found = self.find(paths)
        return common if found is None or found.stale else priced(found.record.findings, common)

    def keep(self, record: Record) -> None:
        """Durable when it returns. Raises StoreFault, InsufficientSpace."""
        with self._lock:
            self._write(self._book.with_record(record))

    def forget(self, paths: Sequence[str]) -> bool:
        """Whether there was one. Raises StoreFault, InsufficientSpace."""
        model = identity_of(paths)
        with self._lock:
            book = self._book if model is None else self._book.without(model)
            if book == self._book:
                return False
            self._write(book)
        return True

    def _write(self, book: Book) -> None:
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._files.write_aside(self._path, book.encoded())
        self._book = book


def identity_of(paths: Sequence[str]) -> str | None:
    """What was measured holds for the files, under whatever name: the store's are named by their digests, of
    others size and time tell whether they are still the same. None: there is no file.
    """
    if not paths:
        return None
    path = Path(paths[0])
    if _DIGEST.fullmatch(path.name):
        return path.name
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{path.name}:{found.st_size}:{found.st_mtime_ns}"


def board_name(root: Root) -> str:
    """One name for one kind of board."""
    found = board.read(root)
    return " ".join(part for part in (found.key, found.name or found.model) if part) or "unknown board"


def priced(findings: Findings, common: PriceTable) -> PriceTable:
    """The planner's prices with those that were measured."""
    table = common
    if findings.cache is not None:
        table = structs.replace(
            table, cache_prefill=findings.cache.prefill, cache_decode=findings.cache.decode
        )
    if findings.ubatch:
        table = structs.replace(table, ubatch_prefill=findings.ubatch)
    return table


def choice_of(calibrated: Calibrated | None) -> Choice:
    """What is to be served otherwise; nothing where the record is stale."""
    return Choice() if calibrated is None or calibrated.stale else calibrated.record.findings.choice


def _read(path: Path) -> Book:
    try:
        raw = read_small(path, MOST_BYTES)
    except (ResourceError, OSError) as error:
        _log.warning("calibration_not_read", path=str(path), reason=str(error))
        return Book()
    return Book() if raw is None or len(raw) > MOST_BYTES else decoded(raw)
