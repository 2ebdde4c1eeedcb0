"""`.venv`: made from the hash-pinned locks, with this package installed in place.

Three parts, each with its stamp: the locked packages (level `run` or `dev`), the wheel of llama-cpp-python,
the package itself. A stamp is the digest of all that its part was made from; while it matches, the part is
left alone.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from provision.bootstrap import places
from provision.bootstrap.steps import BootstrapError, run, step

Level = Literal["run", "dev"]

_LOCKS: Final[dict[Level, tuple[str, ...]]] = {
    "run": ("requirements.lock", "requirements-tools.lock"),
    "dev": ("requirements-dev.lock",),
}
_STAMPS: Final = places.VENV / ".outpost"
_HINT: Final = "look at the network and the disk; `make clean` starts the environment anew"


def ensure(level: Level) -> None:
    """Have `.venv` with the packages of `level` and this package in it. `dev` holds all of `run`."""
    if _current(level) and _installed_here():
        return
    with places.exclusive(places.ROOT / ".cache/environment.lock", doing="setting up .venv"):
        if not _usable():
            with step(f"making .venv with Python {sys.version_info.major}.{sys.version_info.minor}"):
                shutil.rmtree(places.VENV, ignore_errors=True)
                venv.create(places.VENV, with_pip=True)
        if not _current(level):
            with step(f"installing locked packages ({level})"):
                _install_locked(level)
        if not _installed_here():
            with step("installing Outpost in place"):
                pip(
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--no-index",
                    "--no-build-isolation",
                    "-e",
                    str(places.ROOT),
                )
                stamp("package", _package_digest())


def ensure_wheel(wheel: Path, key: str) -> None:
    """Have the built `wheel` installed; `key` names all that it was built from."""
    if stamped("llama", key):
        return
    with (
        places.exclusive(places.ROOT / ".cache/environment.lock", doing="setting up .venv"),
        step(f"installing {wheel.name}"),
    ):
        pip("install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
        stamp("llama", key)


def pip(*arguments: str) -> None:
    """Run the environment's pip. Raises BootstrapError."""
    run(
        [str(places.PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments], hint=_HINT
    )


def digest_of(parts: Sequence[bytes]) -> str:
    """One digest over `parts`; their lengths go in, so that no two lists collide."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _install_locked(level: Level) -> None:
    locks = [argument for name in _LOCKS[level] for argument in ("-r", str(places.ROOT / name))]
    pip("install", "--quiet", "--require-hashes", "--only-binary=:all:", *locks)
    stamp("run", _lock_digest("run"))
    if level == "dev":
        stamp("dev", _lock_digest("dev"))


def _current(level: Level) -> bool:
    return stamped(level, _lock_digest(level))


def _installed_here() -> bool:
    return stamped("package", _package_digest())


def _usable() -> bool:
    """Whether .venv runs. A moved clone or an upgraded Debian leaves one that does not."""
    probe = [str(places.PYTHON), "-c", "import pip"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _lock_digest(level: Level) -> str:
    return digest_of([_interpreter(), *((places.ROOT / name).read_bytes() for name in _LOCKS[level])])


def _package_digest() -> str:
    return digest_of(
        [_interpreter(), str(places.ROOT).encode(), (places.ROOT / "pyproject.toml").read_bytes()]
    )


def _interpreter() -> bytes:
    """What .venv was made with: where its python leads, and the version written into it."""
    try:
        written = (places.VENV / "pyvenv.cfg").read_bytes()
    except OSError:
        return b"none"
    return written + str(places.PYTHON.resolve()).encode()


def stamped(name: str, digest: str) -> bool:
    try:
        return (_STAMPS / name).read_text(encoding="ascii") == digest and places.PYTHON.exists()
    except OSError:
        return False


def stamp(name: str, digest: str) -> None:
    if not places.PYTHON.exists():
        raise BootstrapError(".venv vanished while it was set up", hint="run make again")
    _STAMPS.mkdir(exist_ok=True)
    (_STAMPS / name).write_text(digest, encoding="ascii")
