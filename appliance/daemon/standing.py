"""On what we run: the chip, and the very files that compute. No inference code is loaded for it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib import util
from pathlib import Path
from typing import Final

from appliance.hardware import chip
from appliance.optimizing.standing import Standing

_DIGITS: Final = 12
_OWN_KERNELS: Final = Path("lib") / "outpost" / "libggml-outpost.so"
"""As `engine/llama/kernels.py` finds them below `sys.prefix`."""
_NEEDED: Final = frozenset({"avx2", "fma", "f16c"})
"""By our kernels (docs/adr/0013)."""


def standing(*, own_kernels: bool, sysroot: Path = Path("/")) -> Standing:
    """`own_kernels`: whether the configuration wants them."""
    here = chip.read(sysroot)
    kernels = _digest(_ours()) if own_kernels and here.features >= _NEEDED else None
    llama = _digest(_libraries()) or "missing"
    return Standing(
        chip=here,
        build=f"llama.cpp {llama}, {f'own kernels {kernels}' if kernels else 'no own kernels'}",
        own_kernels=kernels is not None,
    )


def _libraries() -> tuple[Path, ...]:
    found = util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return ()
    paths = (Path(found.origin).parent / "lib").glob("*.so*")
    return tuple(sorted(path for path in paths if path.is_file() and not path.is_symlink()))


def _ours() -> tuple[Path, ...]:
    path = Path(sys.prefix) / _OWN_KERNELS
    return (path,) if path.is_file() else ()


@cache
def _digest(paths: Iterable[Path]) -> str | None:
    """Of the contents; 30 ms for llama.cpp's, once in a process."""
    hashed = hashlib.sha256()
    is_any = False
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        hashed.update(len(content).to_bytes(8, "little") + content)
        is_any = True
    return hashed.hexdigest()[:_DIGITS] if is_any else None
