"""Sampling of one sequence: a llama.cpp sampler chain, with a grammar beside it.

The chain is llama.cpp's default order (`common/common.h`: penalties, DRY, top-n-sigma, top-k, typical, top-p,
min-p, XTC, temperature, dist). As in `common/sampling.cpp` the grammar judges only the token the chain chose;
only when it refuses is it applied to the whole vocabulary and the chain run again: a full pass costs
milliseconds, a check of one token microseconds.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from llama_cpp import llama_cpp as bindings
from numpy.typing import NDArray

from appliance.engine.llama.model import LlamaModel
from appliance.engine.utf8 import begun_after
from appliance.errors import EngineFault, InvalidRequest
from appliance.wire.messages import SamplingParams

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_MIROSTAT_M = 100
_TRIES = 64
"""Tokens that break a character are struck out one by one; a model that wants so many of them has lost its
way.
"""


class Candidates:
    """The vocabulary as a `llama_token_data_array`, reused for every sample. Owned by the engine's thread."""

    def __init__(self, n_vocab: int) -> None:
        self._rows = np.zeros(n_vocab, _CANDIDATE)
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self.array: Any = bindings.llama_token_data_array()
        self._one = np.zeros(1, _CANDIDATE)
        self._one_array: Any = bindings.llama_token_data_array()

    def fill(self, logits: NDArray[np.float32]) -> None:
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        self._point(self.array, self._rows)

    def one(self, token: int) -> Any:
        """An array of a single candidate, for asking a grammar about it."""
        self._one[0] = (token, 1.0, 0.0)
        self._point(self._one_array, self._one)
        return self._one_array

    def one_survived(self) -> bool:
        return bool(self._one["logit"][0] > -math.inf)

    def any_survived(self) -> bool:
        return bool(np.isfinite(self._rows["logit"]).any())

    def likeliest(self) -> int:
        return int(self._rows["logit"].argmax())

    def selected(self) -> int:
        index = self.array.selected
        if index < 0:
            raise EngineFault(reason="the sampler chose no token")
        return int(self.array.data[index].id)

    @staticmethod
    def _point(array: Any, rows: NDArray[np.void]) -> None:
        array.data = ctypes.cast(rows.ctypes.data, bindings.llama_token_data_p)
        array.size = len(rows)
        array.selected = -1
        array.sorted = False


class LlamaSampler:
    """One sequence's sampling state. `plain_greedy`: the arg max of the logits is the answer, no chain
    needed.
    """

    def __init__(
        self, model: LlamaModel, params: SamplingParams, *, seed: int, grammar: str | None, n_ctx: int
    ) -> None:
        """`n_ctx`: what a `last_n` of -1 means. Raises InvalidRequest when llama.cpp refuses the grammar."""
        params = _resolved(params, n_ctx)
        self._model = model
        self._chain = None
        self._grammar = _grammar(model, grammar) if grammar is not None else None
        self._begun = b""
        self._forbidden = np.array(model.end_tokens if params.ignore_eos else [], np.int64)
        self._remembers = _penalises(params) or params.dry_multiplier > 0
        self.plain_greedy = params.temperature <= 0 and not _reshapes(params)
        if not self.plain_greedy:
            self._chain = _chain(model, params, seed)

    @property
    def constrained(self) -> bool:
        return self._grammar is not None

    def sample(self, logits: NDArray[np.float32], candidates: Candidates) -> int:
        """Choose a token; `accept` it before the next call."""
        if self._forbidden.size:
            logits[self._forbidden] = -math.inf
        token = self._choose(logits, candidates)
        if self._grammar is None or self._allows(token, candidates):
            return token
        for _ in range(_TRIES):
            token = self._choose_allowed(logits, candidates)
            if self._goes_on(token):
                break
            logits[token] = -math.inf
        return token

    def accept(self, token: int) -> None:
        if self._grammar is not None:
            bindings.llama_sampler_accept(self._grammar, token)
            self._begun = begun_after(self._begun, self._model.piece(token)) or b""
        if self._chain is not None:
            bindings.llama_sampler_accept(self._chain, token)

    def accept_prompt(self, tokens: list[int]) -> None:
        """Show the prompt to the penalties (not to the grammar), as llama-server does."""
        if self._chain is not None and self._remembers:
            for token in tokens:
                bindings.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler is not None:
                bindings.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def _choose(self, logits: NDArray[np.float32], candidates: Candidates) -> int:
        if self._chain is None:
            return int(logits.argmax())
        candidates.fill(logits)
        bindings.llama_sampler_apply(self._chain, ctypes.byref(candidates.array))
        return candidates.selected()

    def _choose_allowed(self, logits: NDArray[np.float32], candidates: Candidates) -> int:
        """Among the tokens that the grammar lets through."""
        candidates.fill(logits)
        bindings.llama_sampler_apply(self._grammar, ctypes.byref(candidates.array))
        if not candidates.any_survived():
            raise EngineFault(reason="the grammar allows no token here")
        if self._chain is None:
            return candidates.likeliest()
        bindings.llama_sampler_apply(self._chain, ctypes.byref(candidates.array))
        return candidates.selected()

    def _allows(self, token: int, candidates: Candidates) -> bool:
        bindings.llama_sampler_apply(self._grammar, ctypes.byref(candidates.one(token)))
        return candidates.one_survived() and self._goes_on(token)

    def _goes_on(self, token: int) -> bool:
        """Whether its bytes continue the character that the last token began, if it did."""
        return begun_after(self._begun, self._model.piece(token)) is not None


def _resolved(params: SamplingParams, n_ctx: int) -> SamplingParams:
    """With -1 (the whole context) as a number: llama.cpp's samplers take it for "off"."""
    return msgspec.structs.replace(
        params,
        repeat_last_n=n_ctx if params.repeat_last_n < 0 else params.repeat_last_n,
        dry_penalty_last_n=n_ctx if params.dry_penalty_last_n < 0 else params.dry_penalty_last_n,
    )


def _grammar(model: LlamaModel, gbnf: str) -> Any:
    sampler = bindings.llama_sampler_init_grammar(model.vocab, gbnf.encode(), b"root")
    if not sampler:
        # The Python binding would add the NULL to a chain and crash.
        raise InvalidRequest(reason="llama.cpp refused the grammar", param="grammar")
    return sampler


def _penalises(params: SamplingParams) -> bool:
    return params.repeat_last_n != 0 and (
        params.repeat_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0
    )


def _reshapes(params: SamplingParams) -> bool:
    """Whether what goes before the choice can change the arg max; at temperature 0 nothing else is asked."""
    return _penalises(params) or params.dry_multiplier > 0 or bool(params.logit_bias)


def _chain(model: LlamaModel, params: SamplingParams, seed: int) -> Any:
    chain_params = bindings.llama_sampler_chain_default_params()
    chain_params.no_perf = True
    chain = bindings.llama_sampler_chain_init(chain_params)

    def add(sampler: Any) -> None:
        if not sampler:
            raise InvalidRequest(reason="llama.cpp refused a sampling parameter")
        bindings.llama_sampler_chain_add(chain, sampler)

    if params.logit_bias:
        biases = [
            bindings.llama_logit_bias(token=entry.token, bias=entry.bias) for entry in params.logit_bias
        ]
        array = (bindings.llama_logit_bias * len(biases))(*biases)
        add(bindings.llama_sampler_init_logit_bias(model.n_vocab, len(biases), array))
    if _penalises(params):
        add(
            bindings.llama_sampler_init_penalties(
                model.n_vocab,
                params.repeat_last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
    if params.dry_multiplier > 0:
        add(_dry(model, params))
    if params.temperature <= 0:
        add(bindings.llama_sampler_init_greedy())
    elif params.mirostat:
        add(bindings.llama_sampler_init_temp(params.temperature))
        add(_mirostat(model, params, seed))
    else:
        _add_truncation(add, params, seed)
        add(bindings.llama_sampler_init_dist(seed))
    return chain


def _add_truncation(add: Callable[[Any], None], params: SamplingParams, seed: int) -> None:
    if params.top_n_sigma > 0:
        add(bindings.llama_sampler_init_top_n_sigma(params.top_n_sigma))
    if params.top_k > 0:
        add(bindings.llama_sampler_init_top_k(params.top_k))
    if params.typical_p < 1:
        add(bindings.llama_sampler_init_typical(params.typical_p, 1))
    if params.top_p < 1:
        add(bindings.llama_sampler_init_top_p(params.top_p, 1))
    if params.min_p > 0:
        add(bindings.llama_sampler_init_min_p(params.min_p, 1))
    if params.xtc_probability > 0:
        add(bindings.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, 1, seed))
    add(
        bindings.llama_sampler_init_temp_ext(
            params.temperature, params.dynatemp_range, params.dynatemp_exponent
        )
    )


def _dry(model: LlamaModel, params: SamplingParams) -> Any:
    breakers = [text.encode() for text in params.dry_sequence_breakers]
    array = (ctypes.c_char_p * len(breakers))(*breakers)
    return bindings.llama_sampler_init_dry(
        model.vocab,
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        params.dry_penalty_last_n,
        array,
        len(breakers),
    )


def _mirostat(model: LlamaModel, params: SamplingParams, seed: int) -> Any:
    if params.mirostat == 1:
        return bindings.llama_sampler_init_mirostat(
            model.n_vocab, seed, params.mirostat_tau, params.mirostat_eta, _MIROSTAT_M
        )
    return bindings.llama_sampler_init_mirostat_v2(seed, params.mirostat_tau, params.mirostat_eta)
