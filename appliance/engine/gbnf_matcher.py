"""Which tokens a grammar lets through, as one sequence goes on.

GrammarVocabulary  the tokens as a model shows them; one per model and set of shown control tokens
SharedGrammar      one grammar over it, with the automaton that all sequences under it build up together
GrammarMatcher     where one sequence stands
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.engine.gbnf_automaton import DEAD, Allowance, Automaton
from appliance.engine.gbnf_bytes import ByteGrammar, byte_grammar
from appliance.engine.gbnf_check import MAX_ELEMENTS
from appliance.engine.gbnf_parse import parse_gbnf
from appliance.engine.token_trie import TokenTrie
from appliance.errors import EngineFault

_CACHED: Final = 8
_CACHED_MASKS: Final = 32
_FIRST: Final = 100_000
"""Operations (about 1.2 us) for the first mask, on the preparer thread."""
_BURST: Final = 40_000
"""Operations that a sequence may spend in one step: 50 ms of the time it may take (`step_bound_s`). The most
that an honest schema was seen to need is 25,000 (300 optional properties, each with a bound on its length).
"""
_PER_TOKEN: Final = 5_000
"""Operations earned back by each token."""


class GrammarVocabulary:
    """Owned by the thread that prepares, one at a time; the engine's thread only reads it."""

    def __init__(
        self, pieces: Sequence[bytes], *, end_tokens: Sequence[int], token_of: Callable[[str], int]
    ) -> None:
        """`pieces` by token, as they are shown: empty where nothing is. `token_of`: see `byte_grammar`."""
        ends = frozenset(end_tokens)
        self.pieces = [b"" if token in ends else piece for token, piece in enumerate(pieces)]
        self.ends = ends
        self.end_list = np.array(sorted(ends), np.int64)
        self.has_text = np.array([bool(piece) for piece in self.pieces], np.bool_)
        self.trie = TokenTrie(self.pieces)
        self._token_of = token_of
        self._grammars: OrderedDict[str, SharedGrammar] = OrderedDict()

    def grammar(self, gbnf: str, *, param: str) -> SharedGrammar:
        """`gbnf` has passed `check_gbnf`. Raises InvalidRequest when it is too costly from the start."""
        key = f"{param}\n{gbnf}"
        shared = self._grammars.get(key)
        if shared is None:
            parsed = parse_gbnf(gbnf, param=param, max_elements=MAX_ELEMENTS)
            shared = self._grammars[key] = SharedGrammar(byte_grammar(parsed, self._token_of), self, param)
            if len(self._grammars) > _CACHED:
                self._grammars.popitem(last=False)
        self._grammars.move_to_end(key)
        return shared


@dataclass(slots=True)
class _Built:
    """What was found out so far."""

    automaton: Automaton
    start: int
    masks: OrderedDict[int, NDArray[np.uint8]] = field(default_factory=OrderedDict)
    """Of states, least recently used first; a bit for each token."""


class SharedGrammar:
    """Made by the preparer thread, which has it find out its first mask; from then on the engine's thread
    owns what is built.
    """

    def __init__(self, grammar: ByteGrammar, vocabulary: GrammarVocabulary, param: str) -> None:
        self._grammar = grammar
        self.vocabulary = vocabulary
        self.param = param
        allowance = Allowance(_FIRST, param=param)
        self.built = self._fresh(allowance)
        self.mask(self.built, self.built.start, allowance)

    def renewed(self, worn: _Built, allowance: Allowance) -> _Built:
        """In place of one that is full."""
        if self.built is worn:
            self.built = self._fresh(allowance)
        return self.built

    def mask(self, built: _Built, state: int, allowance: Allowance) -> NDArray[np.bool_]:
        """bool[n_vocab]: what may come next, end tokens included."""
        n_vocab = len(self.vocabulary.pieces)
        known = built.masks.get(state)
        if known is not None:
            built.masks.move_to_end(state)
            return np.unpackbits(known, count=n_vocab).view(np.bool_)
        mask = self._mask(built.automaton, state, allowance)
        built.masks[state] = np.packbits(mask)
        if len(built.masks) > _CACHED_MASKS:
            built.masks.popitem(last=False)
        return mask

    def _mask(self, automaton: Automaton, state: int, allowance: Allowance) -> NDArray[np.bool_]:
        vocabulary = self.vocabulary
        mask = vocabulary.trie.allowed(automaton, state, allowance)
        for place in automaton.tokens(state):
            if place.negated:
                others = vocabulary.has_text.copy()
                others[place.token : place.token + 1] = False
                mask |= others
            else:
                mask[place.token : place.token + 1] = True
        mask[vocabulary.end_list] = automaton.is_complete(state)
        return mask

    def _fresh(self, allowance: Allowance) -> _Built:
        automaton = Automaton(self._grammar)
        return _Built(automaton, automaton.begin(allowance))


class GrammarMatcher:
    """Owned by the engine's thread."""

    def __init__(self, shared: SharedGrammar) -> None:
        self.param = shared.param
        self._shared = shared
        self._built = shared.built
        self._state = self._built.start
        self._allowance = Allowance(_BURST, param=shared.param)
        self._tried: tuple[int, int] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return self._built.automaton.is_complete(self._state)

    def allows(self, token: int) -> bool:
        """Raises InvalidRequest when the grammar has become too costly."""
        if token in self._shared.vocabulary.ends:
            return self.is_complete
        return self._read(token) != DEAD

    def allowed(self) -> NDArray[np.bool_]:
        """bool[n_vocab]. Raises InvalidRequest when the grammar has become too costly."""
        return self._shared.mask(self._built, self._state, self._allowance)

    def accept(self, token: int) -> None:
        """A token that is allowed. Raises InvalidRequest when the grammar has become too costly."""
        if token in self._shared.vocabulary.ends:
            return
        state = self._read(token)
        if state == DEAD:
            raise EngineFault(reason=f"token {token} was sampled against the grammar")
        self._state, self._tried = state, None
        self._allowance.left = min(_BURST, self._allowance.left + _PER_TOKEN)
        if self._built.automaton.is_full:
            self._move()

    def _read(self, token: int) -> int:
        if self._tried is None or self._tried[0] != token:
            piece = self._shared.vocabulary.pieces[token]
            state = self._built.automaton.read_token(self._state, token, piece, self._allowance)
            self._tried = (token, state)
        return self._tried[1]

    def _move(self) -> None:
        """What a sequence needs of a worn automaton is only the state it stands in."""
        worn, state = self._built, self._state
        self._built = self._shared.renewed(worn, self._allowance)
        self._state = self._built.automaton.adopt(worn.automaton, state, self._allowance)
