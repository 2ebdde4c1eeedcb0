"""What one model wants otherwise than all. Pure, and apart from the other policies: the command line asks for
it without the daemon's parts and the configuration's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from appliance.units import LEAST_UBATCH, MOST_CONTEXT, MOST_THREADS, MOST_UBATCH
from appliance.wire.load import Placement

_BOUNDS: Final = {
    "n_ctx_seq": (0, MOST_CONTEXT),
    "n_ubatch": (LEAST_UBATCH, MOST_UBATCH),
    "n_threads": (0, MOST_THREADS),
}
"""Of `[engine]`: a model's own wishes are kept within them."""


def placed(common: Placement, overrides: Mapping[str, object]) -> Placement:
    """`common` with what one model wants otherwise, within the bounds of `[engine]`."""
    return msgspec.structs.replace(common, **{key: _bounded(key, value) for key, value in overrides.items()})


def _bounded(key: str, value: object) -> object:
    if key not in _BOUNDS or not isinstance(value, int):
        return value
    low, high = _BOUNDS[key]
    return max(low, min(value, high))
