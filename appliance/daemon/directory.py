"""The data directory: one daemon at a time, and the record by which the command line finds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.access.ownership import give_to_owner_of
from appliance.errors import ConfigError, DataDirInUse


@contextlib.contextmanager
def lock_of(directory: Path) -> Iterator[None]:
    """Everything the daemon writes is in one directory, and only one daemon writes there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "daemon.lock").open("w")
        give_to_owner_of(directory, lock.fileno())
    except OSError as error:
        raise _unusable(directory, f"a directory to write in ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirInUse(directory=str(directory)) from error
        except OSError as error:
            raise _unusable(directory, f"a directory that can be locked ({error.strerror})") from error
        yield


def write_record(record: Path, told: Mapping[str, object]) -> None:
    """Aside, synced, renamed, the directory synced: whoever reads it, also after a power loss, reads the
    whole of it. Raises ConfigError where nothing can be written.
    """
    aside = record.with_suffix(".tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(told))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(record)
        directory = os.open(record.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _unusable(record.parent, f"a directory to write in ({error.strerror})") from error


def _unusable(directory: Path, expected: str) -> ConfigError:
    return ConfigError(source="data", key="data.dir", value=str(directory), expected=expected)
