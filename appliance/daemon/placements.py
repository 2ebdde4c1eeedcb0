"""The placement that the configuration and a model ask for. Pure, and apart from the other policies: the
command line asks for it without the daemon's parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from appliance.config import LEAST_UBATCH, MOST_CONTEXT, MOST_THREADS, MOST_UBATCH, Config
from appliance.wire.load import Placement

_BOUNDS: Final = {
    "n_ctx_seq": (0, MOST_CONTEXT),
    "n_ubatch": (LEAST_UBATCH, MOST_UBATCH),
    "n_threads": (0, MOST_THREADS),
}
"""Of `[engine]`: a model's own wishes are kept within them."""


def placement(config: Config, overrides: Mapping[str, object]) -> Placement:
    """That of `[engine]`, with what one model wants otherwise, as far as `[engine]` itself may."""
    engine = config.engine
    common = Placement(
        n_ctx_seq=engine.n_ctx_seq,
        n_seq_max=engine.n_seq_max,
        kv_cells=engine.kv_cells,
        n_ubatch=engine.n_ubatch,
        type_k=engine.type_k,
        type_v=engine.type_v,
        n_threads=engine.n_threads,
    )
    return placed(common, overrides)


def placed(common: Placement, overrides: Mapping[str, object]) -> Placement:
    """`common` with what one model wants otherwise, within the bounds of `[engine]`."""
    return msgspec.structs.replace(common, **{key: _bounded(key, value) for key, value in overrides.items()})


def _bounded(key: str, value: object) -> object:
    if key not in _BOUNDS or not isinstance(value, int):
        return value
    low, high = _BOUNDS[key]
    return max(low, min(value, high))
