"""Which snapshot continues a prompt. Pure; owned by the engine's thread.

As the slots (`kv_cache.py`), snapshots stand in one radix tree a scope, and those with a shared part in that
of the shared scope, too: tokens are compared, not hashes of them. What is used moves to the young end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.engine.hibernation.snapshot import Head, unpack_tokens
from appliance.engine.radix import RadixTree

MOST_SNAPSHOTS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A snapshot on the shelf."""

    number: int
    name: str
    head: Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The snapshot that shares the longest prefix with a prompt."""

    entry: Entry
    length: int
    """Tokens that they share."""


class SnapshotIndex:
    """Owned by the engine's thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._entries: dict[int, Entry] = {}
        """Oldest use first."""
        self._by_name: dict[str, int] = {}
        self._trees: dict[tuple[bytes, bool], RadixTree] = {}
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Oldest use first."""
        return iter(list(self._entries.values()))

    def add(self, name: str, head: Head) -> Entry:
        """It is the youngest now. One that was there under the name is replaced."""
        self.remove(name)
        entry = Entry(number=next(self._numbers), name=name, head=head)
        self._entries[entry.number] = entry
        self._by_name[name] = entry.number
        self.n_bytes += head.file_bytes
        tokens = unpack_tokens(head.tokens)
        self._tree(head.scope, is_shared=False).insert(entry.number, tokens)
        if head.n_shared:
            self._tree(head.shared_scope, is_shared=True).insert(entry.number, tokens[: head.n_shared])
        return entry

    def remove(self, name: str) -> Entry | None:
        number = self._by_name.pop(name, None)
        if number is None:
            return None
        entry = self._entries.pop(number)
        self.n_bytes -= entry.head.file_bytes
        for key, tree in list(self._trees.items()):
            tree.remove(number)
            if not len(tree):
                del self._trees[key]
        return entry

    def find(
        self, scope: bytes, shared_scope: bytes | None, tokens: Sequence[int], *, whole: bool = False
    ) -> Found | None:
        """The longest prefix of `tokens` that a snapshot has; None: no token. `shared_scope` None: only the
        asker's own. `whole`: only snapshots of which every token is one of the prompt (their state cannot be
        cut).
        """
        best: Found | None = None
        for key in ((scope, False), (shared_scope or b"", True)):
            tree = self._trees.get(key)
            if tree is None or (key[1] and shared_scope is None):
                continue
            length, sharers = tree.match(tokens)
            for number in sharers:
                entry = self._entries[number]
                if whole and entry.head.n_tokens != length:
                    continue
                if length and (best is None or length > best.length):
                    best = Found(entry=entry, length=length)
        return best

    def covered(self, scope: bytes, tokens: Sequence[int]) -> int:
        """How many of the first tokens of a slot are on the shelf, for its own scope."""
        found = self.find(scope, None, tokens)
        return found.length if found is not None else 0

    def contained(self, head: Head) -> list[Entry]:
        """Those that are of no use beside a snapshot with this head: they begin it, and share no more."""
        return [
            entry
            for entry in self._entries.values()
            if entry.head.scope == head.scope
            and entry.head.n_shared <= head.n_shared
            and len(entry.head.tokens) < len(head.tokens)
            and head.tokens.startswith(entry.head.tokens)
        ]

    def use(self, entry: Entry) -> None:
        """It is the youngest now, if it is still there."""
        if self._entries.pop(entry.number, None) is not None:
            self._entries[entry.number] = entry

    def surplus(self, new_bytes: int, limit_bytes: int) -> list[Entry]:
        """Which must go, oldest use first, for `new_bytes` to fit below the limit; the new one is in or not
        yet, as the caller counts it.
        """
        gone, left = [], self.n_bytes + new_bytes
        for number, entry in enumerate(self._entries.values()):
            if left <= limit_bytes and len(self._entries) - number < MOST_SNAPSHOTS:
                break
            gone.append(entry)
            left -= entry.head.file_bytes
        return gone

    def _tree(self, scope: bytes, *, is_shared: bool) -> RadixTree:
        return self._trees.setdefault((scope, is_shared), RadixTree())
