"""Whose the files of the data directory are: also where root runs a command in the directory of the daemon's
user, the daemon has to read and write them afterwards.
"""

from __future__ import annotations

import os
from pathlib import Path


def give_to_owner_of(directory: Path, descriptor: int) -> None:
    """What root makes belongs to whom `directory` belongs to. Raises OSError."""
    if os.geteuid() == 0:
        above = directory.stat()
        os.fchown(descriptor, above.st_uid, above.st_gid)
