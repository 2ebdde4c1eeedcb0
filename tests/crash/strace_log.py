"""Operations on files, read from the log of `strace -f -y -xx`.

Only what changes a disk or makes a change durable is kept, with whole contents; calls that failed are left
out. A line that is not understood is an error: a harness that overlooks a write proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TRACED = (
    "openat,lseek,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,sync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,ioctl,mmap"
)
MAX_STRING = 1 << 22
"""Bytes of a buffer that strace writes out. Scenarios keep their blobs below it."""


class LogError(Exception):
    """The log holds something that the model does not know."""


@dataclass(frozen=True, slots=True)
class Create:
    """A new, empty file under `path`."""

    path: str
    inode: int


@dataclass(frozen=True, slots=True)
class Write:
    inode: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    inode: int
    size: int
    grows_only: bool = False
    """fallocate: never shortens."""


@dataclass(frozen=True, slots=True)
class Rename:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Link:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Unlink:
    path: str


@dataclass(frozen=True, slots=True)
class MakeDir:
    path: str


@dataclass(frozen=True, slots=True)
class RemoveDir:
    path: str


@dataclass(frozen=True, slots=True)
class Chmod:
    inode: int
    mode: int


@dataclass(frozen=True, slots=True)
class SyncFile:
    inode: int
    is_data_only: bool = False
    """fdatasync: the mode may stay behind."""


@dataclass(frozen=True, slots=True)
class SyncDir:
    path: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line on standard output: what the program promised by then."""

    line: str


Operation = (
    Create | Write | Resize | Chmod | Rename | Link | Unlink | MakeDir | RemoveDir | SyncFile | SyncDir | Said
)

_CALL = re.compile(r"(?:(\d+)\s+)?(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?.*")
_UNFINISHED = re.compile(r"(?:(\d+)\s+)?(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(?:(\d+)\s+)?<\.\.\. (\w+) resumed>(.*)")
_FD = re.compile(r"(\d+|AT_FDCWD)<((?:[^>\\]|\\.)*)>")
_NAME = re.compile(r'(?:(?:\d+|AT_FDCWD)<((?:[^>\\]|\\.)*)>,\s*)?"((?:\\x[0-9a-f]{2})*)"')
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(frozen=True, slots=True)
class _Call:
    arguments: str
    result: int
    path: str | None
    """Of the descriptor that it returned."""


@dataclass(slots=True)
class Reader:
    """Follows names, inodes and file offsets through a log. `root`: only what lies below it counts."""

    root: str
    paths: dict[str, int] = field(default_factory=dict)
    """Present names to inodes, of files below the root."""
    outside: dict[str, int] = field(default_factory=dict)
    """Files that were linked from outside the root: there, and durable."""
    offsets: dict[str, int] = field(default_factory=dict)
    """Of descriptors. Scenarios have one process, whose threads share them."""
    _next: int = 0

    def start_with(self, paths: Mapping[str, int]) -> None:
        """Files that are there before the log begins, with their inodes (below zero)."""
        self.paths.update(paths)

    def read(self, log: Path) -> list[Operation]:
        operations: list[Operation] = []
        for line in _whole_lines(log.read_text(encoding="ascii", errors="surrogateescape").splitlines()):
            operations += self._operations(line)
        return operations

    def _new(self) -> int:
        self._next += 1
        return self._next

    def _operations(self, line: str) -> Iterator[Operation]:
        match = _CALL.fullmatch(line)
        if match is None:
            if any(
                word in line for word in ("+++ exited", "+++ killed", "--- SIG")
            ) or line.rstrip().endswith("= ?"):
                return
            raise LogError(f"not understood: {line[:200]}")
        _, name, arguments, result, result_path = match.groups()
        if int(result) < 0:
            return
        handler = getattr(self, f"_on_{name}", None)
        if handler is not None:
            yield from handler(_Call(arguments, int(result), _unhex_path(result_path)))

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────

    def _on_openat(self, call: _Call) -> Iterator[Operation]:
        assert call.path is not None
        path = call.path.removesuffix(" (deleted)")
        if not self._inside(path):
            return
        self.offsets[str(call.result)] = 0
        if "O_DIRECTORY" in call.arguments or "O_TMPFILE" in call.arguments:
            if "O_TMPFILE" in call.arguments:
                raise LogError("O_TMPFILE is not modelled")
            return
        if "O_CREAT" in call.arguments and path not in self.paths:
            self.paths[path] = self._new()
            yield Create(path, self.paths[path])
        elif "O_TRUNC" in call.arguments and path in self.paths:
            yield Resize(self.paths[path], 0)
        if "O_APPEND" in call.arguments:
            raise LogError("O_APPEND is not modelled")

    def _on_mkdir(self, call: _Call) -> Iterator[Operation]:
        name = self._names(call.arguments)[0]
        if self._inside(name):
            yield MakeDir(name)

    _on_mkdirat = _on_mkdir

    def _on_rmdir(self, call: _Call) -> Iterator[Operation]:
        name = self._names(call.arguments)[0]
        if self._inside(name):
            yield RemoveDir(name)

    def _on_unlink(self, call: _Call) -> Iterator[Operation]:
        name = self._names(call.arguments)[0]
        if not self._inside(name):
            return
        if "AT_REMOVEDIR" in call.arguments:
            yield RemoveDir(name)
            return
        self.paths.pop(name, None)
        yield Unlink(name)

    _on_unlinkat = _on_unlink

    def _on_rename(self, call: _Call) -> Iterator[Operation]:
        if "RENAME_EXCHANGE" in call.arguments:
            raise LogError("RENAME_EXCHANGE is not modelled")
        source, target = self._names(call.arguments)
        if self._inside(source) != self._inside(target):
            raise LogError(f"a rename over the root's border: {source} -> {target}")
        if not self._inside(source):
            return
        if source in self.paths:
            self.paths[target] = self.paths.pop(source)
        else:
            raise LogError(f"a renamed directory is not modelled: {source}")
        yield Rename(source, target)

    _on_renameat = _on_rename
    _on_renameat2 = _on_rename

    def _on_link(self, call: _Call) -> Iterator[Operation]:
        source, target = self._names(call.arguments)
        if not self._inside(target):
            return
        if source not in self.paths:
            self.paths[source] = self.outside[source] = self._new()
        self.paths[target] = self.paths[source]
        yield Link(source, target)

    _on_linkat = _on_link

    def _on_symlink(self, call: _Call) -> Iterator[Operation]:
        raise LogError("the store makes no symbolic links")

    _on_symlinkat = _on_symlink

    # ── contents ─────────────────────────────────────────────────────────────────────────────────────────

    def _on_write(self, call: _Call) -> Iterator[Operation]:
        number, name = _fd(call.arguments)
        if number == "1" and not self._inside(name):
            lines = _string(call.arguments)[: call.result].decode().splitlines()
            yield from (Said(line.strip()) for line in lines)
            return
        inode = self._inode(name)
        if inode is None:
            return
        offset = self.offsets.get(number, 0)
        self.offsets[number] = offset + call.result
        yield Write(inode, offset, _string(call.arguments)[: call.result])

    def _on_pwrite64(self, call: _Call) -> Iterator[Operation]:
        inode = self._inode(_fd(call.arguments)[1])
        if inode is not None:
            yield Write(inode, int(call.arguments.rsplit(",", 1)[1]), _string(call.arguments)[: call.result])

    def _on_lseek(self, call: _Call) -> Iterator[Operation]:
        number, name = _fd(call.arguments)
        if self._inside(name):
            self.offsets[number] = call.result
        yield from ()

    def _on_ftruncate(self, call: _Call) -> Iterator[Operation]:
        inode = self._inode(_fd(call.arguments)[1])
        if inode is not None:
            yield Resize(inode, int(call.arguments.rsplit(",", 1)[1]))

    def _on_fallocate(self, call: _Call) -> Iterator[Operation]:
        inode = self._inode(_fd(call.arguments)[1])
        if inode is None:
            return
        _, mode, begin, length = (part.strip() for part in call.arguments.rsplit(",", 3))
        if mode == "FALLOC_FL_KEEP_SIZE":
            return
        if mode != "0":
            raise LogError(f"fallocate {mode} is not modelled")
        yield Resize(inode, int(begin) + int(length), grows_only=True)

    def _on_fchmod(self, call: _Call) -> Iterator[Operation]:
        inode = self._inode(_fd(call.arguments)[1])
        if inode is not None:
            yield Chmod(inode, int(call.arguments.rsplit(",", 1)[1], 8))

    def _on_chmod(self, call: _Call) -> Iterator[Operation]:
        if any(self._inside(name) for name in self._names(call.arguments)):
            raise LogError(f"a mode is changed by name: {call.arguments[:200]}")
        yield from ()

    _on_fchmodat = _on_chmod

    def _refuse(self, call: _Call) -> Iterator[Operation]:
        if any(self._inside(name) for _, name in _FD.findall(call.arguments)):
            raise LogError(f"a call that is not modelled: {call.arguments[:200]}")
        yield from ()

    _on_writev = _on_pwritev = _on_pwritev2 = _on_sendfile = _on_copy_file_range = _on_truncate = _refuse
    _on_sync_file_range = _refuse

    def _on_ioctl(self, call: _Call) -> Iterator[Operation]:
        if "FICLONE" in call.arguments:
            yield from self._refuse(call)

    def _on_mmap(self, call: _Call) -> Iterator[Operation]:
        if "MAP_SHARED" in call.arguments and "PROT_WRITE" in call.arguments:
            yield from self._refuse(call)

    # ── barriers ─────────────────────────────────────────────────────────────────────────────────────────

    def _on_fsync(self, call: _Call) -> Iterator[Operation]:
        name = _fd(call.arguments)[1]
        if not self._inside(name) and name != self.root:
            return
        inode = self._inode(name)
        yield SyncDir(name) if inode is None else SyncFile(inode)

    def _on_fdatasync(self, call: _Call) -> Iterator[Operation]:
        for barrier in self._on_fsync(call):
            yield SyncFile(barrier.inode, is_data_only=True) if isinstance(barrier, SyncFile) else barrier

    def _on_sync(self, call: _Call) -> Iterator[Operation]:
        raise LogError("sync is no way to make one file durable")

    _on_syncfs = _on_sync

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────

    def _inside(self, path: str) -> bool:
        return path.startswith(self.root + "/")

    def _inode(self, path: str) -> int | None:
        return self.paths.get(path.removesuffix(" (deleted)"))

    def _names(self, arguments: str) -> list[str]:
        """Absolute paths of all path arguments; a directory descriptor before one is its parent."""
        found = []
        for match in _NAME.finditer(arguments):
            name = bytes.fromhex(match[2].replace("\\x", "")).decode()
            base = _unhex_path(match[1]) if match[1] is not None else None
            found.append(name if name.startswith("/") or base is None else f"{base}/{name}")
        return found


def _fd(arguments: str) -> tuple[str, str]:
    match = _FD.match(arguments)
    if match is None:
        raise LogError(f"no descriptor in {arguments[:200]}")
    return match[1], _unhex_path(match[2]) or ""


def _string(arguments: str) -> bytes:
    match = _STRING.search(arguments)
    if match is None or match[2]:
        raise LogError(f"a buffer that strace cut short: {arguments[:100]}")
    return bytes.fromhex(match[1].replace("\\x", ""))


def _unhex_path(text: str | None) -> str | None:
    if text is None or "\\x" not in text:
        return text
    return _HEX.sub(lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode(), text)


def _whole_lines(lines: list[str]) -> Iterator[str]:
    """Calls of threads that strace cut in two, joined where they end: that is when they took effect."""
    begun: dict[tuple[str, str], str] = {}
    for line in lines:
        if match := _UNFINISHED.fullmatch(line):
            begun[match[1] or "", match[2]] = match[3]
        elif match := _RESUMED.fullmatch(line):
            process, call, rest = match[1] or "", match[2], match[3]
            head = begun.pop((process, call), None)
            if head is None:
                raise LogError(f"resumed, but never begun: {line[:200]}")
            yield f"{process} {call}({head}{rest}"
        else:
            yield line
