"""The audit log on disk: who changed keys, models and configuration. `audit_chain.py` makes and checks lines,
`audit_files.py` reads them.

    DATA/audit/000000000001.jsonl   lines from that number on, appended and synced one by one
               head.json            the last line, signed; written aside, synced, renamed after each line
               lock                 held by who writes: a daemon, or a command where none runs

The whole is bounded: when the files are as big as they may be, the oldest goes, and the head says from where
on there is something.

    record   before a change that may be refused: AuditUnwritable leaves it undone
    note     after one that must not wait for a log: the journal, a counter and the return value tell
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from appliance import log
from appliance.access import audit_chain as chain
from appliance.access.account_clock import boot_id
from appliance.access.audit_chain import Head
from appliance.access.audit_files import FOLDER, HEAD, audit_key, last_line, read_head, segments
from appliance.access.ownership import give_to_owner_of
from appliance.errors import AuditUnwritable

_log = log.logger("audit")

_LOCK: Final = "lock"
_SEGMENTS: Final = 8
_MOST_CHARS: Final = 256
_MOST_ITEMS: Final = 32

Fact = str | int | float | bool | None | list[str]


class Audit:
    """Any thread, any process: a lock of each kind is held while one line is written."""

    def __init__(
        self,
        data: Path,
        device_key: bytes | OSError,
        *,
        max_bytes: int,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """`device_key`: or why it cannot be had; then nothing can be written."""
        self._folder = data / FOLDER
        self._keyless = device_key if isinstance(device_key, OSError) else None
        self._key = b"" if isinstance(device_key, OSError) else audit_key(device_key)
        self._max_bytes = max_bytes
        self._wall_s = wall_s
        self._boot = boot_id()
        self._lock = threading.Lock()
        self._lost = 0

    @property
    def lost(self) -> int:
        """Changes that were made and could not be written down, since the start."""
        return self._lost

    def record(self, event: str, actor: str, **facts: Fact) -> int:
        """Durable when it returns: the entry's number. `actor`: a key's id, or who else acted. Raises
        AuditUnwritable.
        """
        try:
            if self._keyless is not None:
                raise self._keyless
            with self._lock, self._alone():
                return self._append(event, actor, facts)
        except OSError as error:
            raise AuditUnwritable(
                event=event,
                reason=error.strerror or str(error),
                free_bytes=_free_bytes(self._folder.parent),
                needed_bytes=chain.MOST_LINE_BYTES,
            ) from error

    def note(self, event: str, actor: str, **facts: Fact) -> bool:
        """The same, for what is done whatever becomes of its entry: whether it was written. Never raises."""
        try:
            self.record(event, actor, **facts)
        except AuditUnwritable as fault:
            self._lost += 1
            why = {name: fault.fields[name] for name in ("reason", "free_bytes")}
            _log.error("audit_entry_lost", entry=event, actor=actor, facts=facts, **why)
            return False
        return True

    def keyed_digest(self, text: bytes) -> str:
        """Tells whether something is the same as before, and nothing else of it."""
        return hmac.new(self._key, b"digest\0" + text, hashlib.sha256).hexdigest()

    def _append(self, event: str, actor: str, facts: dict[str, Fact]) -> int:
        head = self._standing()
        now_s = self._wall_s()
        body = {
            "seq": head.seq + 1,
            "time": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds"),
            "boot": self._boot,
            "event": event,
            "actor": _bounded(actor),
            "facts": {name: _bounded(value) for name, value in facts.items()},
            "prev": head.sha256,
        }
        line = chain.encoded(body, self._key)
        if len(line) >= chain.MOST_LINE_BYTES:
            line = chain.encoded({**body, "facts": {"omitted": "they are too long"}}, self._key)
        self._write(line, seq=head.seq + 1)
        kept = Head(first=head.first, seq=head.seq + 1, sha256=chain.digest(line))
        try:
            self._keep_bound(kept)
        except OSError as error:  # the line is there, and vouches for itself
            _log.error("audit_head_not_written", reason=error.strerror or str(error))
        return kept.seq

    def _standing(self) -> Head:
        """What the next line follows: the last one, or the head where it knows of more than there is."""
        head = self._read_head()
        files = segments(self._folder)
        if not files:
            return head or Head()
        _drop_torn_end(files[-1])
        last = last_line(files[-1])
        if last is None and len(files) > 1:
            last = last_line(files[-2])
        told = None if last is None else chain.parsed(last)
        if last is None or told is None or (head is not None and head.seq >= told["seq"]):
            return head or Head()
        first = int(files[0].stem) if head is None else head.first
        return Head(first=first, seq=told["seq"], sha256=chain.digest(last))

    def _read_head(self) -> Head | None:
        text = read_head(self._folder)
        return None if text is None else chain.parsed_head(text, self._key)

    def _write(self, line: bytes, *, seq: int) -> None:
        files = segments(self._folder)
        path = files[-1] if files else None
        if path is None or path.stat().st_size + len(line) >= self._max_bytes // _SEGMENTS:
            path = self._folder / f"{seq:012}.jsonl"
        descriptor = self._opened(path, os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, line + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if size == 0:
            _sync_folder(self._folder)

    def _keep_bound(self, head: Head) -> None:
        """The head first: lines that are older than it says are no fault, lines that it misses are."""
        files = segments(self._folder)
        sizes = [path.stat().st_size for path in files]
        old = 0
        while old < len(files) - 1 and sum(sizes[old:]) > self._max_bytes:
            old += 1
        if old:
            head = Head(first=int(files[old].stem), seq=head.seq, sha256=head.sha256)
        self._write_head(head)
        for path in files[:old]:
            path.unlink()

    def _write_head(self, head: Head) -> None:
        aside = self._folder / f"{HEAD}.tmp"
        descriptor = self._opened(aside, os.O_TRUNC)
        try:
            _write_all(descriptor, chain.encoded_head(head, self._key))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(self._folder / HEAD)
        _sync_folder(self._folder)

    def _opened(self, path: Path, how: int) -> int:
        """To write; made where it is not there."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how, 0o600)
        try:
            give_to_owner_of(self._folder, descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Among processes. Nobody holds it for longer than one line takes."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                give_to_owner_of(self._folder.parent, folder)
            finally:
                os.close(folder)
        descriptor = self._opened(self._folder / _LOCK, 0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _drop_torn_end(path: Path) -> None:
    """What a cut of power left of a line that nobody was told is there."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        begin = max(0, size - chain.MOST_LINE_BYTES)
        file.seek(begin)
        tail = file.read()
        if not tail or tail.endswith(b"\n"):
            return
        file.truncate(begin + tail.rfind(b"\n") + 1)
        os.fsync(file.fileno())
    _log.warning("audit_torn_line_dropped", file=path.name, size_bytes=len(tail) - tail.rfind(b"\n") - 1)


def _bounded(value: Fact) -> Fact:
    if isinstance(value, str):
        return value[:_MOST_CHARS]
    if isinstance(value, list):
        return [item[:_MOST_CHARS] for item in value[:_MOST_ITEMS]]
    return value


def _free_bytes(folder: Path) -> int | None:
    """For who is not root; None: it cannot be told."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
