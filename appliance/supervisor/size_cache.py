"""Sizes that were measured, kept on disk: a plan needs them before every load, and a measurement takes half a
second.

    DIRECTORY/
        <key>.json      one model under one build of llama.cpp: sizes by placement

The key is made of what the files are and of what was built (`model_key`, `build_fingerprint`). What is no
entry of ours is as if it were absent, and is written over. Raw sizes are kept, not footprints: what a
process takes beside them may be told better tomorrow.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import ResourceError
from appliance.log import logger
from appliance.store.files import TEMPORARY, Files, read_small
from appliance.supervisor.preflight import stamp
from appliance.wire.base import Struct
from appliance.wire.messages import Placement
from appliance.wire.sizes import Measured

_log = logger("sizer")

FORMAT: Final = 2
"""Raised with every change of what is measured; another is not read."""
_MOST_FILES: Final = 128
_MOST_ENTRIES: Final = 512
"""Of a file; the oldest go first."""
_MOST_BYTES: Final = 2 * 1024 * 1024
_KERNELS: Final = Path("lib") / "outpost" / "libggml-outpost.so"
"""Below `sys.prefix` (`engine/llama/kernels.py`)."""


class _Kept(Struct, frozen=True):
    format: int
    entries: dict[str, Measured]
    """By placement, as JSON; in the order they came."""


class SizeCache:
    """Any thread. Never raises: a cache that cannot be read or written is one that has nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = Files()
        self._lock = threading.Lock()

    def find(self, key: str, placements: Sequence[Placement]) -> Mapping[Placement, Measured]:
        """Those that are known."""
        entries = self._read(self._path(key))
        return {one: found for one in placements if (found := entries.get(_name(one))) is not None}

    def keep(self, key: str, measured: Mapping[Placement, Measured]) -> None:
        path = self._path(key)
        with self._lock:
            entries = self._read(path)
            for placement, sizes in measured.items():
                entries.pop(_name(placement), None)
                entries[_name(placement)] = sizes
            newest = dict(list(entries.items())[-_MOST_ENTRIES:])
            try:
                self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._files.write_aside(path, msgspec.json.encode(_Kept(format=FORMAT, entries=newest)))
                self._drop_oldest()
            except (ResourceError, OSError) as error:
                _log.warning("sizes_not_kept", path=str(path), reason=str(error))

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"

    def _read(self, path: Path) -> dict[str, Measured]:
        try:
            raw = read_small(path, _MOST_BYTES)
            if raw is None or len(raw) > _MOST_BYTES:
                return {}
            kept = msgspec.json.decode(raw, type=_Kept)
        except (ResourceError, OSError, msgspec.MsgspecError) as error:
            _log.warning("sizes_not_read", path=str(path), reason=str(error))
            return {}
        return dict(kept.entries) if kept.format == FORMAT else {}

    def _drop_oldest(self) -> None:
        """Also what a crash has left half written."""
        for left in self._directory.glob(f"*.json{TEMPORARY}"):
            with suppress(OSError):
                left.unlink()
        files = sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-_MOST_FILES]:
            path.unlink(missing_ok=True)


def model_key(
    *, build: str, identity: str | None, paths: Sequence[Path], draft: Path | None, options: Sequence[bool]
) -> str:
    """`identity`: what the content of all files is, by digest; None: known by place, size, time and inode."""
    files = [*paths, *([] if draft is None else [draft])]
    facts: list[object] = [FORMAT, build, list(options), len(paths)]
    facts += [identity] if identity is not None else [_seen(path) for path in files]
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:40]


def build_fingerprint() -> str:
    """Which llama.cpp, kernels and processor sizes are of. Reads names and times, not the libraries."""
    parts: list[object] = [platform.machine(), _processor(), _version()]
    spec = importlib.util.find_spec("llama_cpp")
    if spec is not None and spec.origin is not None:
        libraries = sorted((Path(spec.origin).parent / "lib").glob("*.so*"))
        parts += [[path.name, *_seen(path)[1:3]] for path in libraries]
    parts.append(_seen(Path(sys.prefix) / _KERNELS)[1:3])
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def _seen(path: Path) -> list[object]:
    found = stamp(str(path))
    if found is None:
        return [str(path), None, None, None]
    return [str(path.absolute()), found.size_bytes, found.mtime_ns, found.inode]


def _version() -> str:
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Its features: a disk may move to another board."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("flags", "features")):
                return line
    return ""


def _name(placement: Placement) -> str:
    return msgspec.json.encode(placement).decode()
