"""Power modes of a Jetson, set to be measured and always set back.

    note (durable) ─► nvpmodel -m N ─► … ─► nvpmodel -m BEFORE ─► note removed

Whoever finds the note sets the mode back: the end of a measurement, the end of the daemon, its next start
after a crash or a power cut.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import ResourceError
from appliance.hardware import nvpmodel
from appliance.hardware.root import Root
from appliance.log import logger
from appliance.store.files import Files, read_small

_log = logger("power_modes")

NOTE: Final = "power-mode.json"
"""Below `plans` in the data directory."""
_COMMAND: Final = ("nvpmodel",)
_TIMEOUT_S: Final = 20.0
_NOTE_BYTES: Final = 1024
_MOST_NUMBER: Final = 9999


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    mode: int
    """To be set again."""


class PowerModes:
    """Owned by one thread at a time."""

    def __init__(self, root: Root, note: Path, *, command: Sequence[str] = _COMMAND) -> None:
        self._root = root
        self._note = note
        self._command = tuple(command)

    def look(self) -> tuple[int, Mapping[int, str]] | str:
        """The mode that is set, and the names of all; or why they cannot be had."""
        found = nvpmodel.read(self._root)
        if found.mode is None:
            return f"this board has no power modes that are known ({found.reasons.get('mode', 'no reason')})"
        return found.mode.number, {mode.number: mode.name for mode in found.modes}

    def set(self, number: int) -> str | None:
        """Set a mode for a while; None: it is set, else why not."""
        before = self._number()
        if before == number:
            return None
        if self._pending() is None:
            if before is None:
                return "the mode that is set is not known, so it could not be set back"
            fault = self._write_note(before)
            if fault is not None:
                return fault
        return self._switch(number)

    def restore(self) -> str | None:
        """Set back what the note says, if there is one; None: the board is as it was, else why not."""
        before = self._pending()
        if before is None:
            return None
        fault = None if self._number() == before else self._switch(before)
        if fault is not None:
            _log.error("power_mode_not_restored", mode=before, reason=fault)
            return fault
        try:
            Files().unlink(self._note)
        except (ResourceError, OSError) as error:
            _log.warning("power_mode_note_left", path=str(self._note), reason=str(error))
        _log.info("power_mode_restored", mode=before)
        return None

    def _number(self) -> int | None:
        found = nvpmodel.read(self._root)
        return None if found.mode is None else found.mode.number

    def _pending(self) -> int | None:
        """Garbage in place of the note is no note."""
        try:
            raw = read_small(self._note, _NOTE_BYTES)
            note = None if raw is None else msgspec.json.decode(raw, type=_Note)
        except (ResourceError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return note.mode if note is not None and 0 <= note.mode <= _MOST_NUMBER else None

    def _write_note(self, before: int) -> str | None:
        try:
            self._note.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            Files().write_aside(self._note, msgspec.json.encode(_Note(mode=before)))
        except (ResourceError, OSError) as error:
            return f"the mode to go back to cannot be noted: {error}"
        return None

    def _switch(self, number: int) -> str | None:
        """Raises nothing: who asks has a board to set back."""
        try:
            done = subprocess.run(  # noqa: S603 - the board's own program
                [*self._command, "-m", str(number)],
                stdin=subprocess.DEVNULL,  # some modes ask whether to boot anew: no
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C"},
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"nvpmodel could not be run: {error}"
        if self._number() == number:
            return None
        words = " ".join(done.stdout.decode("utf-8", "replace").split())[:200]
        return f"nvpmodel did not set mode {number} (exit code {done.returncode}): {words or 'no word'}"
