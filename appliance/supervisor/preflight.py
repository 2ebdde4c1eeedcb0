"""The cheap check of a model file before a runner is spawned for it. The thorough one happens in the
boxed-in runner.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from appliance.errors import ModelInvalid
from appliance.supervisor.history import FileStamp

_HEADER = struct.Struct("<4sIQQ")
"""Magic, version, tensor count, key-value count (GGUF specification, versions 2 and 3)."""
_VERSIONS = (2, 3)


def check(model: str, path: str) -> None:
    """Raise ModelInvalid unless `path` is a regular, readable file that begins like a GGUF. Reads 24
    bytes.
    """
    reason = _fault(path)
    if reason is not None:
        raise ModelInvalid(model=model, reason=reason)


def stamp(path: str) -> FileStamp | None:
    """None: there is no such file (or it cannot be seen)."""
    if not path:
        return None
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    return FileStamp(mtime_ns=facts.st_mtime_ns, size_bytes=facts.st_size, inode=facts.st_ino)


def _fault(path: str) -> str | None:
    try:
        # Not blocking: a FIFO in the model's place must not hold the caller up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"the file cannot be opened: {error.strerror}"
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return "it is not a regular file"
        return _header_fault(os.read(descriptor, _HEADER.size), facts.st_size)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)


def _header_fault(head: bytes, size_bytes: int) -> str | None:
    if len(head) < _HEADER.size:
        return f"the file has {size_bytes} bytes, a GGUF header alone has {_HEADER.size}"
    magic, version, tensors, pairs = _HEADER.unpack(head)
    if magic != b"GGUF":
        return f"it is no GGUF file: it begins with {magic!r}"
    if version not in _VERSIONS:
        return f"GGUF version {version} is not one of 2, 3"
    if tensors > size_bytes or pairs > size_bytes:
        return f"the header announces {tensors} tensors and {pairs} values in {size_bytes} bytes"
    return None
