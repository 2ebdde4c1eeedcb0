"""Reads bytes by a grammar, all ways at once: a deterministic automaton that is built while it is used.

llama.cpp's sampler follows every way of reading a text by itself, so that a short grammar costs minutes a
token, and nothing can interrupt it (ADR 0012). Here a *state* is the set of all places the text so far may
have led to, so each byte of a text is one step, however ambiguous the grammar; and what a new state costs to
find out is counted against an allowance.

    stack    where to go on after the rules that are open, innermost first: (position, rest of the stack)
    config   a place the text may have led to: (node inside a character, position, stack)
    state    a set of configs; `DEAD` is the empty one
    row      of a state: the next state for each of the 256 bytes
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.engine.gbnf_bytes import COMPLETE, ByteGrammar, Call, Char, End, Token
from appliance.errors import InvalidRequest

DEAD: Final = 0
MAX_CONFIGS: Final = 2_000
"""Of one state. The widest honest one seen is an `enum` of 1,000 values."""
_FULL: Final = 100_000
"""Entries of all tables together, about 100 bytes each."""
_STATE_WEIGHT: Final = 16
"""Entries that a state's row of 1 KiB counts for, beside its configs."""
_FIRST_ROWS: Final = 64
_ENTRY_WEIGHT: Final = 2
_EMPTY: Final = 0
_DONE: Final = 0


class Allowance:
    """What building may still cost, in operations of about a microsecond. Owned by whom the automaton serves
    just now.
    """

    def __init__(self, operations: int, *, param: str) -> None:
        self.left = operations
        self.param = param

    def spend(self, operations: int) -> None:
        """Raises InvalidRequest when it is used up."""
        self.left -= operations
        if self.left < 0:
            raise InvalidRequest(
                reason="the grammar is too costly: the text so far can be read in too many ways; "
                "make its alternatives begin differently, or use fewer and shorter ones",
                param=self.param,
            )


class Automaton:
    """Owned by one thread at a time."""

    def __init__(self, grammar: ByteGrammar) -> None:
        self._grammar = grammar
        self._stacks: list[tuple[int, int]] = [(0, 0)]
        self._stack_numbers: dict[tuple[int, int], int] = {}
        self._configs: list[tuple[int, int, int]] = [(COMPLETE, 0, 0)]
        self._config_numbers: dict[tuple[int, int, int], int] = {}
        self._states: list[frozenset[int]] = [frozenset()]
        self._numbers: dict[frozenset[int], int] = {frozenset(): DEAD}
        self._held = 0
        self._after: dict[tuple[int, int], frozenset[int]] = {}
        self._rows = np.zeros((_FIRST_ROWS, 256), np.int32)
        self._is_known = np.zeros(_FIRST_ROWS, np.bool_)
        self._is_known[DEAD] = True

    # ── states ───────────────────────────────────────────────────────────────────────────────────

    @property
    def is_full(self) -> bool:
        """Time for a fresh one, which can `adopt` the states that are still in use."""
        return self._held > _FULL

    def begin(self, allowance: Allowance) -> int:
        found: set[int] = set()
        for start in self._grammar.starts[self._grammar.root]:
            found |= self._closure(start, _EMPTY, allowance)
        return self._state(frozenset(found), allowance)

    def is_complete(self, state: int) -> bool:
        """Whether the text may end here."""
        return _DONE in self._states[state]

    def adopt(self, other: Automaton, state: int, allowance: Allowance) -> int:
        """The state of another automaton over the same grammar, as one of this. Stacks share their ends."""
        stacks = {_EMPTY: _EMPTY}
        configs = set()
        for config in other._states[state]:
            node, position, stack = other._configs[config]
            inner: list[int] = []
            while stack not in stacks:
                inner.append(stack)
                stack = other._stacks[stack][1]
            allowance.spend(1 + len(inner))
            for one in reversed(inner):
                stacks[one] = self._pushed(other._stacks[one][0], stacks[other._stacks[one][1]])
            configs.add(self._config(node, position, stacks[other._configs[config][2]]))
        return self._state(frozenset(configs), allowance)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def rows(self, states: NDArray[np.int32], allowance: Allowance) -> NDArray[np.int32]:
        """int32[n_states, 256], in which the rows of `states` are right; valid until the next call."""
        if not self._is_known[states].all():
            for state in np.unique(states):
                self._fill(int(state), allowance)
        return self._rows

    def read(self, state: int, text: bytes, allowance: Allowance) -> int:
        for byte in text:
            if not self._is_known[state]:
                self._fill(state, allowance)
            state = int(self._rows[state, byte])
            if state == DEAD:
                return DEAD
        return state

    def tokens(self, state: int) -> list[Token]:
        """The whole tokens that may come next by their number."""
        places = (self._grammar.places[self._configs[config][1]] for config in self._waiting(state))
        return list(dict.fromkeys(place for place in places if isinstance(place, Token)))

    def read_token(self, state: int, token: int, text: bytes, allowance: Allowance) -> int:
        """After one token of the vocabulary, by its bytes or by its number."""
        by_bytes = self.read(state, text, allowance) if text else DEAD
        if not self._waiting(state):
            return by_bytes
        found = set(self._states[by_bytes])
        for config in self._waiting(state):
            _, position, stack = self._configs[config]
            place = self._grammar.places[position]
            if isinstance(place, Token) and place.admits(token, text):
                found |= self._following(position, stack, allowance)
        return self._state(frozenset(found), allowance)

    def _waiting(self, state: int) -> list[int]:
        """Configs that no byte leads out of, but a token may."""
        return [
            config
            for config in self._states[state]
            if self._configs[config][0] == COMPLETE and config != _DONE
        ]

    # ── building ─────────────────────────────────────────────────────────────────────────────────

    def _fill(self, state: int, allowance: Allowance) -> None:
        if self._is_known[state]:
            return
        reached: dict[tuple[int, int], set[int]] = {}
        for config in self._states[state]:
            node, position, stack = self._configs[config]
            for low, high, after in self._grammar.nodes[node]:
                into = reached.setdefault((low, high), set())
                if after == COMPLETE:
                    into |= self._following(position, stack, allowance)
                else:
                    into.add(self._config(after, position, stack))
        allowance.spend(len(self._states[state]) + len(reached))
        row = np.zeros(256, np.int32)
        cuts = sorted({low for low, _ in reached} | {high + 1 for _, high in reached})
        for low, end in pairwise(cuts):
            covering = [configs for (first, last), configs in reached.items() if first <= low <= last]
            allowance.spend(len(reached) // 16 + sum(map(len, covering)) // 4)
            if covering:
                row[low:end] = self._state(frozenset().union(*covering), allowance)
        self._rows[state] = row
        self._is_known[state] = True

    def _state(self, configs: frozenset[int], allowance: Allowance) -> int:
        known = self._numbers.get(configs)
        if known is not None:
            return known
        if len(configs) > MAX_CONFIGS:
            allowance.spend(allowance.left + 1)
        allowance.spend(10 + len(configs) // 4)
        number = self._numbers[configs] = len(self._states)
        self._states.append(configs)
        self._held += _STATE_WEIGHT + len(configs)
        if number >= len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._is_known = np.concatenate([self._is_known, np.zeros_like(self._is_known)])
        return number

    def _config(self, node: int, position: int, stack: int) -> int:
        key = (node, position, stack)
        number = self._config_numbers.get(key)
        if number is None:
            number = self._config_numbers[key] = len(self._configs)
            self._configs.append(key)
            self._held += _ENTRY_WEIGHT
        return number

    def _pushed(self, position: int, stack: int) -> int:
        """The stack with `position` to go on at; tail calls do not let it grow."""
        if isinstance(self._grammar.places[position], End):
            return stack
        key = (position, stack)
        number = self._stack_numbers.get(key)
        if number is None:
            number = self._stack_numbers[key] = len(self._stacks)
            self._stacks.append(key)
            self._held += _ENTRY_WEIGHT
        return number

    def _following(self, position: int, stack: int, allowance: Allowance) -> frozenset[int]:
        known = self._after.get((position, stack))
        if known is None:
            known = self._after[position, stack] = self._closure(position + 1, stack, allowance)
            self._held += _ENTRY_WEIGHT + len(known)
        allowance.spend(1 + len(known) // 16)
        return known

    def _closure(self, position: int, stack: int, allowance: Allowance) -> frozenset[int]:
        """Every config that reading may go on in, from a position: rules opened and closed."""
        found: set[int] = set()
        todo = [(position, stack)]
        seen = {(position, stack)}
        while todo:
            position, stack = todo.pop()
            allowance.spend(1)
            place = self._grammar.places[position]
            if isinstance(place, Call):
                inner = self._pushed(position + 1, stack)
                reached = [(start, inner) for start in self._grammar.starts[place.rule]]
            elif not isinstance(place, End):
                node = place.node if isinstance(place, Char) else COMPLETE
                found.add(self._config(node, position, stack))
                continue
            elif stack == _EMPTY:
                found.add(_DONE)
                continue
            else:
                reached = [self._stacks[stack]]
            for one in reached:
                if one not in seen:
                    seen.add(one)
                    todo.append(one)
        return frozenset(found)
