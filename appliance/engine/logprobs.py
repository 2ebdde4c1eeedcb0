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
    """`token`'s log-probability and the `top` most likely alternatives, the likeliest first. `logits`:
    float32[n_vocab].
    """
    wide = logits.astype(np.float64)
    peak = wide.max()
    normaliser = peak + np.log(np.exp(wide - peak).sum())
    alternatives: list[TokenAlternative] = []
    if top:
        likeliest = np.argpartition(wide, -top)[-top:]
        for index in likeliest[np.argsort(-wide[likeliest], kind="stable")]:
XX    return TokenLogprob(
        token=token, piece=piece(token), logprob=_finite(wide[token] - normaliser), top=alternatives
    )


def _finite(value: float) -> float:
    """JSON has no infinity; OpenAI writes -9999 for a token that was impossible."""
    return float(value) if np.isfinite(value) else -9999.0
