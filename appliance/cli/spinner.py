"""A line on stderr that says what is being waited for."""

from __future__ import annotations

import sys
import threading
from typing import Final, Self, TextIO

from appliance.cli.terminal import CLEAR_LINE, printable

_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S: Final = 0.1


class Spinner:
    """Silent when stderr is no terminal.

    The thread `outpost-spinner` draws, from `__enter__` to `stop`; `label` may be set by the thread that made
    it.
    """

    def __init__(self, label: str, *, stream: TextIO | None = None) -> None:
        self.label = label
        self._stream = stream if stream is not None else sys.stderr
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_shown(self) -> bool:
        """Whether anybody could see it."""
        return self._stream.isatty()

    def __enter__(self) -> Self:
        if self.is_shown:
            self._thread = threading.Thread(target=self._draw, name="outpost-spinner", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wipe the line. Idempotent."""
        if self._thread is None:
            return
        self._done.set()
        self._thread.join(timeout=1.0)
        self._thread = None
        self._stream.write(CLEAR_LINE)
        self._stream.flush()

    def _draw(self) -> None:
        frame = 0
        # A short answer should not flicker: nothing is drawn in the first moments.
        while not self._done.wait(_FRAME_S if frame else 2 * _FRAME_S):
            self._stream.write(f"{CLEAR_LINE}{_FRAMES[frame % len(_FRAMES)]} {printable(self.label)}")
            self._stream.flush()
            frame += 1
