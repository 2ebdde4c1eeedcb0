"""Sampling of one sequence: a llama.cpp sampler chain, with a grammar beside it.

The chain is llama.cpp's default order (`common/common.h`: penalties, DRY, top-n-sigma, top-k, typical, top-p,
min-p, XTC, temperature, dist). As in `common/sampling.cpp` the grammar judges only the token the chain chose;
only when it refuses is it applied to the whole vocabulary and the chain run again: a full pass costs
milliseconds, a check of one token microseconds. The grammar is our own (`gbnf_matcher.py`; ADR 0012 says why
llama.cpp's is not used).
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

from appliance.engine.gbnf_matcher import GrammarMatcher
from appliance.engine.llama.model import LlamaModel
from appliance.errors import EngineFault, InvalidRequest
from appliance.wire.messages import SamplingParams

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_MIROSTAT_M = 100


class Candidates:
    """The vocabulary as a `llama_token_data_array`, reused for every sample. Owned by the engine's thread."""

    def __init__(self, n_vocab: int) -> None:
        self._rows = np.zeros(n_vocab, _CANDIDATE)
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self.array: Any = bindings.llama_token_data_array()

    def fill(self, logits: NDArray[np.float32]) -> None:
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        self._point(self.array, self._rows)

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
        self,
        model: LlamaModel,
        params: SamplingParams,
        *,
        seed: int,
        grammar: GrammarMatcher | None,
        n_ctx: int,
    ) -> None:
        """`n_ctx`: what a `last_n` of -1 means. Raises InvalidRequest when llama.cpp refuses a parameter."""
        params = _resolved(params, n_ctx)
        self._chain = None
        self._grammar = grammar
        self._forbidden = np.array(model.end_tokens if params.ignore_eos else [], np.int64)
        self._remembers = _penalises(params) or params.dry_multiplier > 0
        self.plain_greedy = params.temperature <= 0 and not _reshapes(params)
        if not self.plain_greedy:
            self._chain = _chain(model, params, seed)

    def sample(self, logits: NDArray[np.float32], candidates: Candidates) -> int | None:
        """Choose a token; `accept` it before the next call. None: the grammar is complete and nothing may
        follow. Raises InvalidRequest when the grammar leads nowhere, or has become too costly.
        """
        if self._forbidden.size:
            logits[self._forbidden] = -math.inf
        token = self._choose(logits, candidates)
        if self._grammar is None or self._grammar.allows(token):
            return token
        return self._choose_allowed(self._grammar, logits, candidates)

    def accept(self, token: int) -> None:
        if self._grammar is not None:
            self._grammar.accept(token)
        if self._chain is not None:
            bindings.llama_sampler_accept(self._chain, token)

    def accept_prompt(self, tokens: list[int]) -> None:
        """Show the prompt to the penalties (not to the grammar), as llama-server does."""
        if self._chain is not None and self._remembers:
            for token in tokens:
                bindings.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        if self._chain is not None:
            bindings.llama_sampler_free(self._chain)
        self._chain = self._grammar = None

    def _choose(self, logits: NDArray[np.float32], candidates: Candidates) -> int:
        if self._chain is None:
            return int(logits.argmax())
        candidates.fill(logits)
        bindings.llama_sampler_apply(self._chain, ctypes.byref(candidates.array))
        return candidates.selected()

    def _choose_allowed(
        self, grammar: GrammarMatcher, logits: NDArray[np.float32], candidates: Candidates
    ) -> int | None:
        """Among the tokens that the grammar lets through."""
        candidates.fill(np.where(grammar.allowed(), logits, np.float32(-math.inf)))
        if not candidates.any_survived():
            if grammar.is_complete:
                return None
            raise InvalidRequest(
                reason="the grammar leads nowhere: no token of this model may follow the text so far, "
                "nor may it end",
                param=grammar.param,
            )
        if self._chain is None:
            return candidates.likeliest()
        bindings.llama_sampler_apply(self._chain, ctypes.byref(candidates.array))
        return candidates.selected()


def _resolved(params: SamplingParams, n_ctx: int) -> SamplingParams:
    """With -1 (the whole context) as a number: llama.cpp's samplers take it for "off"."""
    return msgspec.structs.replace(
        params,
        repeat_last_n=n_ctx if params.repeat_last_n < 0 else params.repeat_last_n,
        dry_penalty_last_n=n_ctx if params.dry_penalty_last_n < 0 else params.dry_penalty_last_n,
    )


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
