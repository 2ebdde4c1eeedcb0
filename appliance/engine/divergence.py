"""How far one next-token distribution is from another: Kullback-Leibler divergence, perplexity. Numbers only.

KL(P||Q) = sum over the vocabulary of P (log P - log Q), in nats; P is the original's distribution at
temperature 1, Q the candidate's, both after the same tokens.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from appliance.wire.judge import Divergence

_ROWS: Final = 16
"""Compared at once: the copies of a row of 150,000 logits, 16 times, are 10 MB each."""
_P99: Final = 99.0


class Comparison:
    """Adds up positions. Owned by the judging thread."""

    def __init__(self) -> None:
        self._kl: list[NDArray[Any]] = []
        self._original_nll = 0.0
        self._candidate_nll = 0.0
        self._same_top = 0
        self._tokens = 0

    def add(
        self, original: NDArray[np.float32], candidate: NDArray[np.float32], targets: NDArray[np.int64]
    ) -> bool:
        """Logits float32[n, n_vocab] of both after the same tokens, and the tokens that follow, int64[n].
        False: some are not finite, and nothing of it is counted.
        """
        if not (np.isfinite(original).all() and np.isfinite(candidate).all()):
            return False
        for begin in range(0, len(targets), _ROWS):
            rows = slice(begin, begin + _ROWS)
            self._add(original[rows], candidate[rows], targets[rows])
        return True

    def result(self) -> Divergence:
        """Of at least one position."""
        kl = np.concatenate(self._kl)
        return Divergence(
            tokens=self._tokens,
            mean=float(kl.mean()),
            p99=float(np.percentile(kl, _P99)),
            greatest=float(kl.max()),
            same_top=self._same_top / self._tokens,
            original_perplexity=math.exp(self._original_nll / self._tokens),
            candidate_perplexity=math.exp(self._candidate_nll / self._tokens),
        )

    def _add(self, original: NDArray[Any], candidate: NDArray[Any], targets: NDArray[np.int64]) -> None:
        log_p, log_q = log_softmax(original), log_softmax(candidate)
        # Rounding may bring a sum of nearly equal terms below 0, which no divergence is.
        self._kl.append(np.maximum(np.einsum("rv,rv->r", np.exp(log_p), log_p - log_q), 0.0))
        positions = np.arange(len(targets))
        self._original_nll -= float(log_p[positions, targets].sum())
        self._candidate_nll -= float(log_q[positions, targets].sum())
        self._same_top += int((original.argmax(axis=1) == candidate.argmax(axis=1)).sum())
        self._tokens += len(targets)


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Of each row; float64, because the terms nearly cancel."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
