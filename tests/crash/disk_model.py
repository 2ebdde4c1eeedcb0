"""What a disk may hold after a power cut: every prefix of the operations, with many choices of what had
reached the disk among those that nothing had made durable.

The rules are those that POSIX promises, and no more (a file system may be kinder):

    data of a file      durable after fsync or fdatasync of that file; its mode after fsync
    names               durable after fsync of their directory; a rename is one step, in its target's
    all else            may be there or not, in any combination; a write may be torn, or leave zeros
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

from tests.crash.strace_log import (
    Chmod,
    Create,
    Link,
    MakeDir,
    Operation,
    RemoveDir,
    Rename,
    Resize,
    Said,
    SyncDir,
    SyncFile,
    Unlink,
    Write,
)
from tests.crash.trees import Tree

NameChange = Create | Rename | Link | Unlink | MakeDir | RemoveDir


@dataclass(slots=True)
class Disk:
    """Names and contents. Owned by whoever builds one state."""

    names: dict[str, int]
    directories: set[str]
    contents: dict[int, bytes] = field(default_factory=dict)
    modes: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Disk:
        return Disk(dict(self.names), set(self.directories), dict(self.contents), dict(self.modes))

    def apply(self, operation: Operation) -> None:
        match operation:
            case Create(path, inode):
                self.names[path] = inode
                self.contents.setdefault(inode, b"")
            case Write(inode, offset, content):
                held = self.contents.get(inode, b"").ljust(offset, b"\0")
                self.contents[inode] = held[:offset] + content + held[offset + len(content) :]
            case Resize(inode, size, grows_only):
                held = self.contents.get(inode, b"")
                if size > len(held) or not grows_only:
                    self.contents[inode] = held[:size].ljust(size, b"\0")
            case Chmod(inode, mode):
                self.modes[inode] = mode
            case Unlink(path):
                self.names.pop(path, None)
            case MakeDir(path):
                self.directories.add(path)
            case RemoveDir(path):
                self.directories.discard(path)
            case _:
                raise TypeError(operation)

    def apply_name(self, change: NameChange, inode: int | None) -> None:
        """A change of names whose inode was known when it happened: a lost creation does not lose it."""
        match change:
            case Rename(source, target):
                assert inode is not None
                if self.names.get(source) == inode:
                    del self.names[source]
                self.names[target] = inode
                self.contents.setdefault(inode, b"")
            case Link(_, target):
                assert inode is not None
                self.names[target] = inode
                self.contents.setdefault(inode, b"")
            case _:
                self.apply(change)

    def tree(self) -> Tree:
        """A name in a directory that is not there is not there."""
        found: Tree = {}
        for directory in sorted(self.directories):
            if str(PurePosixPath(directory).parent) in self.directories or not found:
                found[directory] = None
        for path, inode in self.names.items():
            if str(PurePosixPath(path).parent) in found:
                found[path] = self.contents.get(inode, b"")
        return found

    def links(self) -> frozenset[frozenset[str]]:
        """Names that are one file."""
        names: dict[int, set[str]] = {}
        for path, inode in self.names.items():
            names.setdefault(inode, set()).add(path)
        return frozenset(frozenset(paths) for paths in names.values() if len(paths) > 1)


@dataclass(frozen=True, slots=True)
class State:
    """One thing that may be found after a cut."""

    tree: Tree
    inodes: dict[str, int]
    modes: dict[int, int]
    said: tuple[str, ...]
    """Lines that the program had written by then."""
    after: int
    """Operations of the log that had happened."""
    kept: str
    """Which of those that were not durable reached the disk, in words."""


@dataclass(slots=True)
class _Step:
    operation: Operation
    inode: int | None
    durable_at: int | None
    """Index of the barrier after which this is sure to be on the disk; None: none came."""


class Cuts:
    """All states of one log. Owned by one thread."""

    def __init__(self, start: Disk, operations: Sequence[Operation], *, seed: int, subsets: int = 8) -> None:
        """`subsets`: random choices for each prefix beside the systematic ones."""
        self._base = start.copy()
        self._settled = 0
        self._steps = _with_barriers(start, operations)
        self._random = random.Random(seed)
        self._subsets = subsets

    def states(self) -> Iterator[State]:
        """Each different state once."""
        seen: set[int] = set()
        for after in range(len(self._steps) + 1):
            said = tuple(
                step.operation.line for step in self._steps[:after] if isinstance(step.operation, Said)
            )
            for kept, disk in self._disks(after):
                tree = disk.tree()
                key = hash((frozenset(tree.items()), disk.links(), said))
                if key not in seen:
                    seen.add(key)
                    yield State(tree, disk.names, disk.modes, said, after, kept)

    def _disks(self, after: int) -> Iterator[tuple[str, Disk]]:
        barriers = (Said, SyncFile, SyncDir)
        happened = [step for step in self._steps[:after] if not isinstance(step.operation, barriers)]
        pending = [
            index
            for index, step in enumerate(happened)
            if step.durable_at is None or step.durable_at >= after
        ]
        self._advance(happened, pending[0] if pending else len(happened))
        for kept, chosen in self._choices(pending):
            yield kept, self._build(happened, set(pending) - chosen, {})
        for index in pending[-6:]:
            operation = happened[index].operation
            if isinstance(operation, Write) and operation.content:
                for word, content in _damaged(operation.content):
                    changed = {index: Write(operation.inode, operation.offset, content)}
                    yield f"all, {word} write {index}", self._build(happened, set(), changed)

    def _choices(self, pending: list[int]) -> Iterator[tuple[str, set[int]]]:
        everything = set(pending)
        yield "all", everything
        if not pending:
            return
        yield "none", set()
        for index in pending[-12:]:
            yield f"all but {index}", everything - {index}
            yield f"only {index}", {index}
        for place in range(1, min(len(pending), 8)):
            yield f"the last {place}", set(pending[-place:])
        for _ in range(self._subsets):
            yield "some", {index for index in pending if self._random.random() < 0.5}

    def _advance(self, happened: Sequence[_Step], first: int) -> None:
        """What is before the first that may be lost is the same in all states from here on."""
        for step in happened[self._settled : first]:
            _apply(self._base, step.operation, step.inode)
        self._settled = first

    def _build(self, happened: Sequence[_Step], lost: set[int], changed: dict[int, Write]) -> Disk:
        disk = self._base.copy()
        for index, step in enumerate(happened[self._settled :], start=self._settled):
            if index not in lost:
                _apply(disk, changed.get(index, step.operation), step.inode)
        return disk


def _apply(disk: Disk, operation: Operation, inode: int | None) -> None:
    if isinstance(operation, Create | Rename | Link | Unlink | MakeDir | RemoveDir):
        disk.apply_name(operation, inode)
    else:
        disk.apply(operation)


def _damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What a write may leave when it is cut: a part of it, or blocks that were given and not written."""
    length = len(content)
    for end in sorted({1, length // 3, length // 2, length - 1} - {0, length}):
        yield f"{end} bytes of", content[:end]
        yield f"zeros behind {end} bytes of", content[:end] + bytes(length - end)
    yield "zeros for", bytes(length)


def _with_barriers(start: Disk, operations: Sequence[Operation]) -> list[_Step]:
    """Each operation with the index of the barrier that makes it durable."""
    names = dict(start.names)
    steps: list[_Step] = []
    for operation in operations:
        inode: int | None = None
        match operation:
            case Create(path, made):
                names[path] = inode = made
            case Rename(source, target):
                names[target] = inode = names.pop(source)
            case Link(source, target):
                inode = names.get(source)
                if inode is not None:
                    names[target] = inode
            case Unlink(path):
                inode = names.pop(path, None)
            case Write(number, _, _) | Resize(number, _, _) | Chmod(number, _):
                inode = number
            case _:
                pass
        steps.append(_Step(operation, inode, None))
    for index, step in enumerate(steps):
        match step.operation:
            case SyncFile(number, is_data_only):
                _settle(steps[:index], index, partial(_is_of, number, is_data_only))
            case SyncDir(path):
                _settle(steps[:index], index, partial(_is_in, path))
            case _:
                pass
    return steps


def _settle(earlier: Iterable[_Step], barrier: int, concerned: Callable[[_Step], bool]) -> None:
    for step in earlier:
        if step.durable_at is None and concerned(step):
            step.durable_at = barrier


def _is_of(inode: int, is_data_only: bool, step: _Step) -> bool:
    kinds = Write | Resize if is_data_only else Write | Resize | Chmod
    return isinstance(step.operation, kinds) and step.inode == inode


def _is_in(directory: str, step: _Step) -> bool:
    return _directory_of(step) == directory


def _directory_of(step: _Step) -> str | None:
    match step.operation:
        case Create(path, _) | Unlink(path) | MakeDir(path) | RemoveDir(path):
            return str(PurePosixPath(path).parent)
        case Rename(_, target) | Link(_, target):
            return str(PurePosixPath(target).parent)
        case _:
            return None
