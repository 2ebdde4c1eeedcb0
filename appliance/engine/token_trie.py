"""The vocabulary as a tree of bytes, in arrays: which tokens may come next, with each common beginning read
once. Pure.

    node 0 is the root; nodes stand level by level, the children of a node side by side in order of their byte
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.engine.gbnf_automaton import DEAD, Allowance, Automaton


class TokenTrie:
    """Read only; any thread."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces` by token; tokens without bytes are in no text."""
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        text = np.frombuffer(b"".join(pieces), np.uint8)
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._n_tokens = len(pieces)
        self._tokens = np.flatnonzero(lengths)
        self._end = np.zeros(self._n_tokens, np.int64)
        parents: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        letters: list[NDArray[np.uint8]] = [np.zeros(1, np.uint8)]
        tokens, node, n_nodes = self._tokens, np.zeros(len(self._tokens), np.int64), 1
        depth = 0
        while tokens.size:
            keys, at = np.unique(node * 256 + text[first[tokens] + depth], return_inverse=True)
            parents.append(keys // 256)
            letters.append((keys % 256).astype(np.uint8))
            node = n_nodes + at.reshape(-1)
            self._end[tokens] = node
            n_nodes += len(keys)
            depth += 1
            longer = lengths[tokens] > depth
            tokens, node = tokens[longer], node[longer]
        self._letter = np.concatenate(letters)
        counts = np.bincount(np.concatenate(parents)[1:], minlength=n_nodes)
        self._n_children = counts.astype(np.int32)
        self._first_child = (1 + np.concatenate([[0], np.cumsum(counts)[:-1]])).astype(np.int32)

    def allowed(self, automaton: Automaton, state: int, allowance: Allowance) -> NDArray[np.bool_]:
        """bool[n_tokens]: whose bytes the grammar reads from `state` on. Raises InvalidRequest."""
        is_read = np.zeros(len(self._letter), np.bool_)
        nodes = np.zeros(1, np.int64)
        states = np.array([state], np.int32)
        while True:
            counts = self._n_children[nodes]
            inner = counts > 0
            nodes, states, counts = nodes[inner], states[inner], counts[inner]
            if not nodes.size:
                break
            offset = np.repeat(
                self._first_child[nodes] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts
            )
            children = offset + np.arange(len(offset))
            rows = automaton.rows(states, allowance)
            reached = rows[np.repeat(states, counts), self._letter[children]]
            alive = reached != DEAD
            nodes, states = children[alive], reached[alive]
            is_read[nodes] = True
        allowed = np.zeros(self._n_tokens, np.bool_)
        allowed[self._tokens] = is_read[self._end[self._tokens]]
        return allowed
