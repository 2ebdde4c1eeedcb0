"""The one door to the kernel's files: sysfs, procfs, the device tree, the release in /etc.

Every reader of this package takes a `Root`. Below `/` it is the machine; below any other directory it is a
simulated board, whose files tests write. A plain file cannot fail as sysfs does (EAGAIN while an engine is
off), so a simulated tree may hold `.errno.json`: path → name of the error that reading it gives.

What cannot be read is `Absent`, with the reason: never a number that means "none", never an exception.
Files are opened anew at each read, are bounded, and are only opened when they are plain files, so neither a
pipe nor a device can hold or change anything. Links of a simulated tree do not lead out of it.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

Known = TypeVar("Known")

ERRNO_TABLE: Final = ".errno.json"
MOST_BYTES: Final = 64 * 1024
"""Of a file whose size nothing else bounds: an attribute of sysfs has at most a page."""
_MOST_NAMES: Final = 4096
"""Of one directory: more is no directory of a board."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}")
_MAGIC: Final = frozenset("*?[")


class Reason(StrEnum):
    """Why a value is missing."""

    NOT_THERE = "not there"
    DENIED = "this user may not read it"
    NOT_NOW = "no value now (EAGAIN)"
    FAILED = "reading fails"
    NOT_A_FILE = "not a plain file"
    OUTSIDE = "leads out of the tree"
    EMPTY = "empty"
    TOO_LARGE = "too large"
    NOT_TEXT = "not text"
    NOT_A_NUMBER = "not a number"


_REASONS: Final = {
    errno.ENOENT: Reason.NOT_THERE,
    errno.ENOTDIR: Reason.NOT_THERE,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EAGAIN: Reason.NOT_NOW,
    errno.EISDIR: Reason.NOT_A_FILE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A value that could not be read."""

    path: str
    """Under the root, without a leading slash; empty: no file at all would tell."""
    reason: str
    """One of `Reason`, or a sentence of the reader's."""
    detail: str | None = None
    """The error's name, where the reason does not say all."""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"/{self.path}: {self.reason}{detail}" if self.path else self.reason


class Reasons(dict[str, str]):
    """Why fields of a reading are None, by field; filled while the reading is made."""

    def known(self, field: str, value: Known | Absent) -> Known | None:
        """The value, or None with its reason noted."""
        if isinstance(value, Absent):
            self[field] = str(value)
            return None
        return value


class Root:
    """A tree of the kernel's files. Paths are relative: `sys/class/thermal`. Safe for several threads."""

    __slots__ = ("_is_machine", "_prefix", "_real", "_table", "_table_mark", "top")

    def __init__(self, top: Path = Path("/")) -> None:
        self.top = top
        self._real = os.path.realpath(top)
        self._is_machine = self._real == "/"
        self._prefix = "" if self._is_machine else self._real
        self._table: dict[str, str] = {}
        self._table_mark: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, place: Path | Root) -> Root:
        """The root at `place`, which may be one already."""
        return place if isinstance(place, Root) else cls(place)

    @property
    def is_machine(self) -> bool:
        """This machine itself, not a directory that stands for one."""
        return self._is_machine

    def text(self, path: str, *, most_bytes: int = MOST_BYTES) -> str | Absent:
        """The file's text without white space around it."""
        data = self.data(path, most_bytes=most_bytes)
        if isinstance(data, Absent):
            return data
        try:
            text = data.decode("utf-8").strip()
        except UnicodeDecodeError:
            return Absent(path=path, reason=Reason.NOT_TEXT)
        if "\0" in text:
            return Absent(path=path, reason=Reason.NOT_TEXT)
        return text or Absent(path=path, reason=Reason.EMPTY)

    def integer(self, path: str) -> int | Absent:
        """The file's only word, a decimal number of at most 64 bits."""
        text = self.text(path)
        if isinstance(text, Absent):
            return text
        number = whole(text)
        return number if number is not None else Absent(path=path, reason=Reason.NOT_A_NUMBER)

    def integers(self, path: str) -> tuple[int, ...] | Absent:
        """All words of the file, each a decimal number."""
        text = self.text(path)
        if isinstance(text, Absent):
            return text
        numbers = [whole(word) for word in text.split()]
        known = tuple(number for number in numbers if number is not None)
        return known if len(known) == len(numbers) else Absent(path=path, reason=Reason.NOT_A_NUMBER)

    def strings(self, path: str) -> tuple[str, ...] | Absent:
        """A property of the device tree: strings that end in NUL."""
        data = self.data(path)
        if isinstance(data, Absent):
            return data
        try:
            found = tuple(text for text in data.decode("utf-8").rstrip("\0\n").split("\0") if text)
        except UnicodeDecodeError:
            return Absent(path=path, reason=Reason.NOT_TEXT)
        return found or Absent(path=path, reason=Reason.EMPTY)

    def data(self, path: str, *, most_bytes: int = MOST_BYTES) -> bytes | Absent:
        """The file's bytes."""
        file = f"{self._prefix}/{path}"
        try:
            self._fail_as_told(path)
            # Asked before it is opened: to open a device may act on it.
            if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - hundreds of files in a sample
                return Absent(path=path, reason=Reason.NOT_A_FILE)
            found = _bytes(file, most_bytes + 1, within=None if self._is_machine else self._real)
        except OSError as error:
            return _absent(path, error)
        except ValueError:  # a NUL in the path
            return Absent(path=path, reason=Reason.NOT_THERE)
        if found is None:
            return Absent(path=path, reason=Reason.OUTSIDE)
        return found if len(found) <= most_bytes else Absent(path=path, reason=Reason.TOO_LARGE)

    def names(self, folder: str) -> tuple[str, ...] | Absent:
        """What is in a directory, sorted."""
        try:
            place = self._place(folder)
            if place is None:
                return Absent(path=folder, reason=Reason.OUTSIDE)
            found = sorted(os.listdir(place))  # noqa: PTH208 - names are enough
        except OSError as error:
            return _absent(folder, error)
        except ValueError:
            return Absent(path=folder, reason=Reason.NOT_THERE)
        return tuple(found[:_MOST_NAMES])

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Paths that match, sorted; `*`, `?` and `[…]` within a name. The last name need not be readable."""
        found = [""]
        for part in pattern.split("/"):
            if _MAGIC.isdisjoint(part):
                found = [f"{folder}/{part}" if folder else part for folder in found]
                continue
            found = [
                f"{folder}/{name}" if folder else name
                for folder in found
                for name in fnmatch.filter(self._listed(folder), part)
            ]
        is_listed = not _MAGIC.isdisjoint(pattern.rsplit("/", 1)[-1])
        return tuple(path for path in sorted(found)[:_MOST_NAMES] if is_listed or self.has(path))

    def has(self, path: str) -> bool:
        """Something is there, of whatever kind."""
        try:
            place = self._place(path)
            return place is not None and os.path.exists(place)  # noqa: PTH110 - as in `data`
        except (OSError, ValueError):
            return not self._is_machine and path in self._errors()

    def _listed(self, folder: str) -> tuple[str, ...]:
        names = self.names(folder or ".")
        return () if isinstance(names, Absent) else names

    def _place(self, path: str) -> str | None:
        """Where something is; None: out of the tree. Raises the error that the table has for it."""
        if self._is_machine:
            return f"/{path}"
        self._fail_as_told(path)
        real = os.path.realpath(f"{self._real}/{path}")
        return real if _is_within(real, self._real) else None

    def _fail_as_told(self, path: str) -> None:
        name = None if self._is_machine else self._errors().get(path)
        if name is not None:
            number = getattr(errno, name, errno.EIO)
            raise OSError(number, os.strerror(number))

    def _errors(self) -> dict[str, str]:
        """The table beside the tree, read again when it is another file."""
        file = f"{self._real}/{ERRNO_TABLE}"
        try:
            found = os.stat(file)  # noqa: PTH116 - as in `data`
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if mark != self._table_mark:
                self._table, self._table_mark = _table(_bytes(file, 16 * MOST_BYTES) or b""), mark
        except OSError:
            self._table, self._table_mark = {}, None
        return self._table


def whole(text: str) -> int | None:
    """A decimal number that fits the kernel's words; None: it is none."""
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) and text.isascii() else None


def _bytes(file: str, most_bytes: int, *, within: str | None = None) -> bytes | None:
    """At most so many; procfs may give them in parts. None: the open file is not below `within`."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        # Asked of what is open, so that no link can change in between; cheaper than to resolve the path.
        if within is not None and not _is_within(os.readlink(f"/proc/self/fd/{descriptor}"), within):  # noqa: PTH115
            return None
        parts = [os.read(descriptor, most_bytes)]
        size = len(parts[0])
        while parts[-1] and size < most_bytes:
            parts.append(os.read(descriptor, most_bytes - size))
            size += len(parts[-1])
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _is_within(real: str, folder: str) -> bool:
    return real == folder or real.startswith(f"{folder}/")


def _absent(path: str, error: OSError) -> Absent:
    reason = _REASONS.get(error.errno or 0, Reason.FAILED)
    name = errno.errorcode.get(error.errno or 0) if reason is Reason.FAILED else None
    return Absent(path=path, reason=reason, detail=name)


def _table(data: bytes) -> dict[str, str]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(path).strip("/"): str(name) for path, name in pairs}
