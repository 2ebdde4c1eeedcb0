"""A board as a fixture: everything a sample reads, and some more of the same kind, redacted.

Form: a tree as below the root, in a directory or a tar. A file that could not be read is there, empty, and
`.errno.json` has its error, so that a `Root` over the tree fails in the same way (`outpost hardware --root`).
"""

from __future__ import annotations

import errno
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.hardware.redaction import Redactor
from appliance.hardware.report import sample
from appliance.hardware.root import ERRNO_TABLE, MOST_BYTES, Absent, Reason, Root

_MORE: Final = (
    "sys/class/thermal/thermal_zone*/*",
    "sys/class/thermal/cooling_device*/*",
    "sys/class/hwmon/hwmon*/*",
    "sys/class/devfreq/*/*",
    "sys/devices/system/cpu/cpufreq/policy*/*",
    "sys/devices/system/cpu/cpu*/cpu_capacity",
    "sys/class/powercap/*/name",
    "proc/cpuinfo",
    "etc/nvfancontrol.conf",
    "var/lib/nvfancontrol/status",
    "etc/nv_boot_control.conf",
)
"""For readers to come. Serial numbers and the kernel's command line are not among them."""
_CPUINFO_BYTES: Final = 1024 * 1024
_ERRORS: Final = {
    Reason.DENIED: "EACCES",
    Reason.NOT_NOW: "EAGAIN",
    Reason.NOT_A_FILE: "EISDIR",
    Reason.TOO_LARGE: "EFBIG",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A board's files, redacted."""

    files: dict[str, bytes]
    folders: frozenset[str]
    """That were listed and of which nothing was read."""
    errors: dict[str, str]
    redacted: int
    """How many values were replaced."""


def capture(root: Root) -> Capture:
    """Read the board once, through a root that notes what is asked of it."""
    noting = _NotingRoot(root.top)
    sample(noting)
    for pattern in _MORE:
        for path in noting.glob(pattern):
            noting.data(path, most_bytes=_CPUINFO_BYTES if path == "proc/cpuinfo" else MOST_BYTES)
    redactor = Redactor(root)
    files: dict[str, bytes] = {}
    errors: dict[str, str] = {}
    for path, found in noting.read.items():
        told = redactor.path(path)
        if isinstance(found, bytes):
            files[told] = _redacted(redactor, path, found)
        elif (name := _error(found)) is not None:
            errors[told] = name
            if path not in noting.folders:
                files[told] = b""
    folders = {redactor.path(path) for path in noting.folders} - files.keys()
    folders |= {redactor.path(path) for path in noting.listed if _is_folder(root, path)}
    for path in sorted(redactor.path(path) for path in noting.listed):
        if path not in folders:
            files.setdefault(path, b"")
    return Capture(files=files, folders=frozenset(folders), errors=errors, redacted=redactor.count)


def write(found: Capture, target: Path) -> None:
    """Into a new directory, or a tar if the name ends so. Raises FileExistsError, OSError."""
    table = json.dumps(found.errors, indent=1, sort_keys=True).encode() + b"\n"
    files = {**found.files, ERRNO_TABLE: table}
    if target.suffix == ".tar":
        _write_tar(files, found.folders, target)
    else:
        target.mkdir(parents=True)
        for folder in sorted(found.folders):
            (target / folder).mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(data)


class _NotingRoot(Root):
    """Notes what is read and listed through it. Owned by the thread that captures."""

    __slots__ = ("folders", "listed", "read")

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.read: dict[str, bytes | Absent] = {}
        self.folders: set[str] = set()
        """That were listed, or could not be."""
        self.listed: set[str] = set()
        """What stood in them."""

    def data(self, path: str, *, most_bytes: int = MOST_BYTES) -> bytes | Absent:
        found = super().data(path, most_bytes=most_bytes)
        self.read[path] = found
        return found

    def names(self, folder: str) -> tuple[str, ...] | Absent:
        found = super().names(folder)
        if isinstance(found, Absent):
            if found.reason != Reason.NOT_THERE:
                self.folders.add(folder)
                self.read[folder] = found
            return found
        self.folders.add(folder)
        # What stands in a folder of a class decides what its reader does; /sys/devices has too much else.
        if folder.startswith(("sys/class/", "sys/block", "sys/bus/", "sys/devices/system/")):
            self.listed |= {f"{folder}/{name}" for name in found}
        return found


def _is_folder(root: Root, path: str) -> bool:
    return not isinstance(root.names(path), Absent)


def _error(found: Absent) -> str | None:
    """None: a file that is not there needs no error."""
    if found.reason in {Reason.NOT_THERE, Reason.OUTSIDE}:
        return None
    return next((name for reason, name in _ERRORS.items() if reason == found.reason), found.detail or "EIO")


def _redacted(redactor: Redactor, path: str, data: bytes) -> bytes:
    """What is not text is not looked through, and so not taken."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return b""
    return redactor.text(path, text).encode()


def _write_tar(files: dict[str, bytes], folders: frozenset[str], target: Path) -> None:
    """All members are plain, of nobody, and without a time."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, "exists", str(target))
    with tarfile.open(target, "x") as archive:
        for folder in sorted(folders):
            member = tarfile.TarInfo(str(PurePosixPath(folder)))
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
