"""DATA/device.key: 32 random bytes, 0600. Every other secret of this device is derived from it, one for each
purpose; it signs and seals nothing itself.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance import log
from appliance.access.ownership import give_to_owner_of

_log = log.logger("daemon")

KEY_BYTES: Final = 32
_KEY_NAME: Final = "device.key"


def has_device_key(data: Path) -> bool:
    return (data / _KEY_NAME).exists()


def device_key(data: Path) -> bytes:
    """Made once; one that is damaged is made anew, and what it sealed counts no more. Raises OSError."""
    path = data / _KEY_NAME
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PermissionError(f"{path} is not a plain file")
            os.fchmod(descriptor, 0o600)
            key = os.read(descriptor, KEY_BYTES + 1)
        finally:
            os.close(descriptor)
        if len(key) == KEY_BYTES:
            return key
        _log.warning("device_key_damaged", size_bytes=len(key))
    return _new_key(path)


def _new_key(path: Path) -> bytes:
    """Aside, synced, renamed, the directory synced: there is a whole key or none."""
    key, aside = secrets.token_bytes(KEY_BYTES), path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner_of(path.parent, descriptor)
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key
