"""Boards that a plan can be made for without having one: memory, bandwidth and whose memory the GPU uses.

The files are `configs/boards/*.toml`; each fact names its source there. Parsing is strict: a fact that is
misspelt must not be a fact that is missing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.errors import InvalidRequest
from appliance.gguf.layouts import FEATURES
from appliance.planner.budget import Reading
from appliance.planner.facts import Accelerator

_KIB: Final = 1024
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MAX_FILE_BYTES: Final = 64 * 1024
_MAX_KIB: Final = 1 << 40
_KEYS: Final = {
    "": {"name", "memory", "cpu", "gpu", "sources"},
    "memory": {"total_kib", "available_kib", "bandwidth_bytes_per_s"},
    "cpu": {"features"},
    "gpu": {"accelerator", "name"},
}
_ROOT: Final = Path(__file__).parents[2]
PLACES: Final = (Path("/etc/outpost/boards"), _ROOT / "configs/boards", _ROOT / "appliance/boards")
"""The operator's own, those of the source tree, those of an installed package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    name: str
    total_bytes: int
    """MemTotal: what the firmware leaves the kernel."""
    available_bytes: int
    """MemAvailable with nothing loaded and no desktop."""
    accelerator: Accelerator
    gpu: str | None = None
    cpu_features: frozenset[str] = frozenset()
    """What its processor can, by ggml's names."""
    bandwidth_bytes_per_s: int | None = None
    """Peak of its memory. None: unknown."""
    sources: Mapping[str, str]
    """By key: where each fact is from."""

    @property
    def reading(self) -> Reading:
        return Reading(total_bytes=self.total_bytes, available_bytes=self.available_bytes)


def find(name: str, places: tuple[Path, ...] = PLACES) -> Board:
    """A board by its name, or the one that a TOML file of this path describes. Raises InvalidRequest."""
    path = Path(name)
    if not _NAME.fullmatch(name):
        return _read(path, name)
    for place in places:
        if (place / f"{name}.toml").is_file():
            return _read(place / f"{name}.toml", name)
    known = ", ".join(names(places)) or "none"
    raise InvalidRequest(reason=f"no board '{name}'; there are {known}, or name a TOML file", param="board")


def names(places: tuple[Path, ...] = PLACES) -> list[str]:
    return sorted({path.stem for place in places for path in place.glob("*.toml")})


def parse(text: str, *, what: str) -> Board:
    """Raises InvalidRequest."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refused(what, f"it is no TOML ({error})") from error
    for section, allowed in _KEYS.items():
        part = table.get(section, {}) if section else table
        if not isinstance(part, dict) or part.keys() - allowed:
            raise _refused(what, f"[{section}] may have {', '.join(sorted(allowed))} and nothing else")
    memory, gpu = table.get("memory", {}), table.get("gpu", {})
    total, available = _kib(memory, "total_kib", what), _kib(memory, "available_kib", what)
    if available > total:
        raise _refused(what, "more memory is available than there is")
    return Board(
        name=_text(table, "name", what) or what,
        total_bytes=total,
        available_bytes=available,
        accelerator=_accelerator(gpu.get("accelerator", "none"), what),
        gpu=_text(gpu, "name", what),
        cpu_features=_features(table.get("cpu", {}).get("features", []), what),
        bandwidth_bytes_per_s=_bandwidth(memory.get("bandwidth_bytes_per_s"), what),
        sources=_sources(table.get("sources", {}), what),
    )


def _read(path: Path, what: str) -> Board:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        raise _refused(what, f"it cannot be read ({error})") from error
    if len(raw) > _MAX_FILE_BYTES:
        raise _refused(what, f"it has more than {_MAX_FILE_BYTES} bytes")
    return parse(text, what=what)


def _kib(memory: Mapping[str, Any], key: str, what: str) -> int:
    value = memory.get(key)
    if type(value) is not int or not 0 < value <= _MAX_KIB:
        raise _refused(what, f"memory.{key} must be a number of KiB, not {value!r}")
    return value * _KIB


def _bandwidth(value: object, what: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise _refused(what, f"memory.bandwidth_bytes_per_s must be bytes a second, not {value!r}")
    return value


def _accelerator(value: object, what: str) -> Accelerator:
    try:
        return Accelerator(str(value))
    except ValueError:
        allowed = ", ".join(Accelerator)
        raise _refused(what, f"gpu.accelerator must be one of {allowed}, not {value!r}") from None


def _features(value: object, what: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(one in FEATURES for one in value):
        raise _refused(what, f"cpu.features must be a list of {', '.join(FEATURES)}")
    return frozenset(value)


def _text(table: Mapping[str, Any], key: str, what: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise _refused(what, f"{key} must be text, not {value!r}")
    return value


def _sources(table: object, what: str) -> Mapping[str, str]:
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise _refused(what, "[sources] must be texts by key")
    return table


def _refused(what: str, reason: str) -> InvalidRequest:
    return InvalidRequest(reason=f"the board {what}: {reason}", param="board")
