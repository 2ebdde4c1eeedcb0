"""Log-probabilities of chosen tokens: of the model's own distribution, before temperature and truncation, as
llama-server reports them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.wire.messages import TokenAlternative, TokenLogprob


def token_logprob(
    logits: NDArray[np.float32], token: int, top: int, piece: Callable[[int], bytes]
) -> TokenLogprob:
    """`token`'s log-probability and the `top` most likely tokens, the likeliest first."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max()
    logprobs = shifted - np.log(np.exp(shifted).sum())

    def alternative(index: int) -> TokenAlternative:
        return TokenAlternative(token=index, piece=piece(index), logprob=_finite(logprobs[index]))

    return TokenLogprob(
        token=token,
        piece=piece(token),
        logprob=_finite(logprobs[token]),
        top=[alternative(index) for index in _likeliest(wide, min(top, len(wide)))],
    )


def _likeliest(logits: NDArray[np.float64], count: int) -> list[int]:
    """Tokens, the likeliest first; of equals, the lower number."""
    if count < 1:
        return []
    border = np.partition(logits, -count)[-count]
    candidates = np.flatnonzero(logits >= border)
    order = np.argsort(-logits[candidates], kind="stable")[:count]
    return [int(token) for token in candidates[order]]


def _finite(value: float) -> float:
    """JSON has no infinity; OpenAI writes -9999 for a token that was impossible."""
    return float(value) if np.isfinite(value) else -9999.0
