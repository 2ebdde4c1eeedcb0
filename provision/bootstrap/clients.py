"""Clients that people already use, for the tests of the doors: Python's in an environment of their own, so
that they do not choose our versions, and JavaScript's beside it. Both hash-pinned; shared by all clones.
"""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path
from typing import Final

from provision.bootstrap import environment, places
from provision.bootstrap.steps import run, step

_HERE: Final = places.ROOT / "tests/clients"
_LOCK: Final = _HERE / "requirements.lock"
_NPM: Final = ("package.json", "package-lock.json")
_HINT: Final = "look at the network and the disk"


def directory() -> Path:
    """Of this state of the locks and this Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    parts = [version.encode(), _LOCK.read_bytes(), *((_HERE / name).read_bytes() for name in _NPM)]
    return places.cache() / "clients" / environment.digest_of(parts)[:16]


def python() -> Path:
    return directory() / "bin/python"


def ensure() -> None:
    """Have both. What was half made is made anew."""
    place = directory()
    done = place / ".done"
    if done.exists():
        return
    with places.exclusive(place.parent / "lock", doing="getting clients for the tests"):
        if done.exists():
            return
        with step("installing clients for the tests"):
            venv.create(place, with_pip=True, clear=True)
            pip = [
                str(place / "bin/python"),
                "-m",
                "pip",
                "--disable-pip-version-check",
                "--no-input",
                "install",
            ]
            run([*pip, "--quiet", "--require-hashes", "--only-binary=:all:", "-r", str(_LOCK)], hint=_HINT)
            for name in _NPM:
                shutil.copy(_HERE / name, place / name)
            npm = [
                "npm",
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--silent",
                "--prefix",
                str(place),
            ]
            run(npm, hint=_HINT)
            done.touch()
