"""Looking at what people name: files, directories and sticks of this machine. Links are followed.

A path that leads nowhere is an absence, one that may not be looked at the caller's fault (InvalidRequest), a
medium that does not answer a StoreFault: pathlib's own questions let its errors through as they are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.errors import InvalidRequest, StoreFault
from appliance.store.files import reason_of

_NOWHERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_CALLERS: Final = frozenset({*_NOWHERE, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL})


@contextmanager
def looking(path: Path) -> Iterator[None]:
    """Around calls that read what lies at a path."""
    try:
        yield
    except OSError as error:
        if error.errno in _CALLERS:
            raise InvalidRequest(reason=f"{path}: {error.strerror}") from error
        raise StoreFault(path=str(path), reason=reason_of(error)) from error


def status_at(path: Path) -> os.stat_result | None:
    """None: it leads nowhere."""
    with looking(path):
        try:
            return path.stat()
        except ValueError:  # a zero byte
            return None
        except OSError as error:
            if error.errno in _NOWHERE:
                return None
            raise


def is_directory(path: Path) -> bool:
    found = status_at(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_plain_file(path: Path) -> bool:
    found = status_at(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def size_at(path: Path) -> int:
    """0 where there is nothing: who opens it says so."""
    found = status_at(path)
    return 0 if found is None else found.st_size
