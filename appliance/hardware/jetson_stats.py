"""What jetson-stats tells beside the kernel's files, where it is installed (extra `jetson`) and serves.

It is asked in a process of its own (`jtop_probe`) with a deadline, and nothing depends on the answer:
whatever goes wrong is one reason. The caller's thread waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

from appliance.hardware.root import Absent, Reasons

LIMIT_S: Final = 3.0
COMMAND: Final = (sys.executable, "-I", "-m", "appliance.hardware.jtop_probe")
_MOST_BYTES: Final = 64 * 1024
_MOST_TEXT: Final = 200
_MOST_COUNT: Final = 1 << 40
_SILENT: Final = Absent(path="", reason="jtop: does not tell it")
_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""jetson-stats counts the largest free memory in blocks of 4 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JetsonStats:
    """One answer. None: it does not say; `reasons` tells why, by field."""

    version: str | None
    module: str | None
    """By the EEPROM of the module, which only root can read."""
    jetpack: str | None
    power_mode: str | None
    is_clock_fixed: bool | None
    """jetson_clocks holds all clocks at their most."""
    total_watts: float | None
    largest_free_bytes: int | None
    """In one piece: an allocation of the GPU may need it so."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def ask(*, command: Sequence[str] | None = None, limit_s: float = LIMIT_S) -> JetsonStats | Absent:
    """Ask once. Returns within `limit_s` and a little; `command` is the program that asks."""
    if command is None:
        if find_spec("jtop") is None:
            return _unavailable("jetson-stats is not installed; to have it: pip install 'outpost[jetson]'")
        command = COMMAND
    try:
        output = _output(command, limit_s)
    except OSError as error:
        return _unavailable(f"cannot be started: {error.strerror}")
    if isinstance(output, Absent):
        return output
    return parse(output)


def parse(output: bytes) -> JetsonStats | Absent:
    """The last line that was printed: the library may print some of its own before."""
    lines = output.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return _unavailable("its answer is not understood")
    if "error" in told:
        return _unavailable(_clean(str(told["error"])))
    return _of(told)


def _of(told: Mapping[str, Any]) -> JetsonStats:
    reasons = Reasons()
    hardware = told.get("hardware")
    board = hardware if isinstance(hardware, dict) else {}
    milliwatts, blocks = _count(told.get("total_milliwatts")), _count(told.get("largest_free_blocks"))
    clocks = told.get("jetson_clocks")
    return JetsonStats(
        version=reasons.known("version", _text(told.get("version"))),
        module=reasons.known("module", _text(board.get("Module"))),
        jetpack=reasons.known("jetpack", _text(board.get("Jetpack"))),
        power_mode=reasons.known("power_mode", _text(told.get("nvpmodel"))),
        is_clock_fixed=reasons.known("is_clock_fixed", clocks if isinstance(clocks, bool) else _SILENT),
        total_watts=reasons.known(
            "total_watts", milliwatts / 1000 if isinstance(milliwatts, int) else milliwatts
        ),
        largest_free_bytes=reasons.known(
            "largest_free_bytes", blocks * _BLOCK_BYTES if isinstance(blocks, int) else blocks
        ),
        reasons=reasons,
    )


def _text(value: object) -> str | Absent:
    return _clean(value) if isinstance(value, str) and value.strip() and value != "None" else _SILENT


def _count(value: object) -> int | Absent:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_COUNT
    return value if is_count and isinstance(value, int) else _SILENT


def _clean(text: str) -> str:
    return " ".join(text.split())[:_MOST_TEXT]


def _unavailable(why: str) -> Absent:
    return Absent(path="", reason=f"jtop: unavailable ({why})")


def _output(command: Sequence[str], limit_s: float) -> bytes | Absent:
    """What the program prints until it ends. Its whole session is killed and reaped, however this ends."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        return _read(process.stdout.fileno(), time.monotonic() + limit_s, limit_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def _read(descriptor: int, deadline_s: float, limit_s: float) -> bytes | Absent:
    found = bytearray()
    while len(found) <= _MOST_BYTES:
        ready, _, _ = select.select([descriptor], [], [], max(deadline_s - time.monotonic(), 0.0))
        if not ready:
            return _unavailable(f"no answer within {limit_s:g} s")
        part = os.read(descriptor, _MOST_BYTES)
        if not part:
            return bytes(found)
        found += part
    return _unavailable(f"it says more than {_MOST_BYTES // 1024} KiB")
