"""The files of the audit log, read: what is in them, and whether it is whole. Who reads needs no lock."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from appliance.access import audit_chain as chain
from appliance.access.audit_chain import Checked

FOLDER: Final = "audit"
HEAD: Final = "head.json"
_PURPOSE: Final = b"outpost audit 1\0"
_MOST_HEAD_BYTES: Final = 1024


def audit_key(device_key: bytes) -> bytes:
    """Who has it learns nothing of the device's."""
    return hmac.new(device_key, _PURPOSE, hashlib.sha256).digest()


def verify(data: Path, device_key: bytes) -> Checked:
    """Reads only. Raises OSError."""
    folder = data / FOLDER
    return chain.check(_lines(folder), read_head(folder), audit_key(device_key))


def entries(data: Path, *, last: int) -> list[dict[str, Any]]:
    """The newest, oldest of them first, as far as they can be read. Raises OSError."""
    found: list[dict[str, Any]] = []
    for path in reversed(segments(data / FOLDER)):
        lines = [told for line in lines_of(path) if (told := chain.parsed(line)) is not None]
        found = lines[max(0, len(lines) - (last - len(found))) :] + found
        if len(found) >= last:
            break
    return found


def segments(folder: Path) -> list[Path]:
    """In the order of their lines."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if path.suffix == ".jsonl" and path.stem.isdecimal())
    return []


def is_torn(data: Path) -> bool:
    """Whether the end is a piece of a line. Where the head does not know that line, a cut of power is to
    blame, and the next entry takes its place; where it does, `verify` finds it missing.
    """
    files = segments(data / FOLDER)
    return bool(files) and files[-1].stat().st_size > 0 and not files[-1].read_bytes().endswith(b"\n")


def _lines(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in segments(folder):
        for number, line in enumerate(lines_of(path), 1):
            yield f"{path.name}:{number}", line


def lines_of(path: Path) -> Iterator[bytes]:
    """Without a piece of one at the end."""
    with path.open("rb") as file:
        while line := file.readline(chain.MOST_LINE_BYTES + 1):
            if not line.endswith(b"\n") and file.tell() == os.fstat(file.fileno()).st_size:
                return
            yield line.removesuffix(b"\n")


def last_line(path: Path) -> bytes | None:
    last = None
    for line in lines_of(path):
        last = line
    return last


def read_head(folder: Path) -> bytes | None:
    """None: there is none. Raises OSError."""
    with suppress(FileNotFoundError), (folder / HEAD).open("rb") as file:
        return file.read(_MOST_HEAD_BYTES)
    return None
