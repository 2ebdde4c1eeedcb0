"""Which slot of the KV cache shares the longest prefix with a prompt: a radix tree over the tokens they hold.

    root ──[sys sys sys]── node {}
                            ├──[a b]── node {slot 0}
                            └──[c]──── node {slot 2}

An edge is a run of tokens, packed as little-endian int32 bytes. A slot's entry ends in exactly one node;
every node on the way to it is shared by all slots below.

Pure data: no clock, no llama.cpp. Owned by the engine's thread.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

_TOKEN_BYTES = 4


def pack(tokens: Sequence[int]) -> bytes:
    return array("i", tokens).tobytes()


def common_prefix(left: bytes, right: bytes) -> int:
    """Length in bytes of the longest common prefix, whole tokens only."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size - size % _TOKEN_BYTES
    low, high = 0, size  # left[:low] is common, left[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low - low % _TOKEN_BYTES


class _Node:
    __slots__ = ("children", "edge", "parent", "slots")

    def __init__(self, edge: bytes, parent: _Node | None) -> None:
        self.edge = edge
        self.parent = parent
        self.children: dict[bytes, _Node] = {}
        self.slots: set[int] = set()


class RadixTree:
    """Slots by the tokens they hold. A slot has at most one entry."""

    def __init__(self) -> None:
        self._root = _Node(b"", None)
        self._ends: dict[int, _Node] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def insert(self, slot: int, tokens: Sequence[int]) -> None:
        """Record that `slot` holds (or will hold) `tokens`, in place of what it held."""
        self.remove(slot)
        node, rest = self._root, pack(tokens)
        while rest:
            child = node.children.get(rest[:_TOKEN_BYTES])
            if child is None:
                child = _Node(rest, node)
                node.children[rest[:_TOKEN_BYTES]] = child
                node, rest = child, b""
                continue
            shared = common_prefix(child.edge, rest)
            node = child if shared == len(child.edge) else self._split(child, shared)
            rest = rest[shared:]
        node.slots.add(slot)
        self._ends[slot] = node

    def remove(self, slot: int) -> None:
        """Forget a slot; unknown slots are ignored."""
        node = self._ends.pop(slot, None)
        if node is None:
            return
        node.slots.discard(slot)
        while node.parent is not None and not node.slots:
            parent = node.parent
            if not node.children:
                del parent.children[node.edge[:_TOKEN_BYTES]]
            elif len(node.children) == 1:
                self._merge_with_child(node)
                return
            else:
                return
            node = parent

    def match(self, tokens: Sequence[int]) -> tuple[int, frozenset[int]]:
        """The longest prefix of `tokens` that any slot shares, in tokens, and the slots that share it; (0,
        nothing) if none.
        """
        node, rest, length = self._root, pack(tokens), 0
        while rest:
            child = node.children.get(rest[:_TOKEN_BYTES])
            if child is None:
                break
            shared = common_prefix(child.edge, rest)
            length += shared
            node, rest = child, rest[shared:]
            if shared < len(child.edge):
                break
        return length // _TOKEN_BYTES, frozenset(self._below(node)) if length else frozenset()

    def _below(self, node: _Node) -> Iterable[int]:
        stack = [node]
        while stack:
            top = stack.pop()
            yield from top.slots
            stack.extend(top.children.values())

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut `node`'s edge after `at` bytes; returns the new upper half."""
        parent = node.parent
        assert parent is not None
        upper = _Node(node.edge[:at], parent)
        parent.children[upper.edge[:_TOKEN_BYTES]] = upper
        node.edge, node.parent = node.edge[at:], upper
        upper.children[node.edge[:_TOKEN_BYTES]] = node
        return upper

    def _merge_with_child(self, node: _Node) -> None:
        (child,) = node.children.values()
        parent = node.parent
        assert parent is not None
        child.edge, child.parent = node.edge + child.edge, parent
        parent.children[child.edge[:_TOKEN_BYTES]] = child
