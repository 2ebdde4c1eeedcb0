"""Where things are: in the clone, and in the cache outside it that clones share.

    CLONE/.venv/            the environment; .venv/.outpost/NAME holds the digest a part was made from (a
    stamp) CLONE/.outpost/         data directory of `make run`
    CACHE/wheels/KEY/       one built wheel of llama-cpp-python, with build.json and build.log
    CACHE/headers/, kernels/  for our kernels and what they are compiled against
    CACHE/models/           the starter model
    CACHE/clients/KEY/      strangers' clients for the tests: a Python environment and node_modules

CACHE is $XDG_CACHE_HOME/outpost, by default ~/.cache/outpost. Files arrive there by rename only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from provision.bootstrap.steps import say

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).resolve().parent
VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin/python"
DATA: Final = ROOT / ".outpost"
_CHUNK_BYTES: Final = 1024 * 1024


def cache() -> Path:
    """The cache shared by all clones of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "outpost"


@contextmanager
def exclusive(lock: Path, *, doing: str) -> Iterator[None]:
    """Hold `lock` for the block, so that of two makes at once one works and the other waits and finds the
    work done.

    The kernel gives the lock back when its holder dies, so a killed make blocks nobody.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  another make is {doing}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def place(source: Path, target: Path) -> None:
    """Make `source`, on the same file system, appear as `target`: whole or not at all, power loss included.

    The files in a folder must have been flushed before.
    """
    flush(source)
    source.rename(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Have the kernel write a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
