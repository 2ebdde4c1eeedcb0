"""Whether a word of the command line names a file of this machine."""

from __future__ import annotations

from pathlib import Path


def is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long for a file, the home of nobody, or with a NUL
        return False
