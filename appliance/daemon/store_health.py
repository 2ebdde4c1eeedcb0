"""What the health report tells of the store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from appliance.errors import ManifestInvalid, StoreFault
from appliance.health.report import BrokenModel, StoreHealth
from appliance.store.listing import ListedModel
from appliance.store.store import ModelStore


def store_health(store: ModelStore) -> StoreHealth:
    """Any thread; nothing is hashed. A disk that does not answer is told as unknown."""
    listed: Sequence[ListedModel] = ()
    withheld: Sequence[str] = ()
    unknown = None
    try:
        listed, withheld = store.list(), store.gc_withheld()
    except (StoreFault, ManifestInvalid) as fault:
        unknown = fault.message
    space: tuple[int, int] | tuple[None, None] = (None, None)
    with contextlib.suppress(StoreFault):
        space = store.layout.space.free_bytes()
    return StoreHealth(
        models=len(listed),
        broken=tuple(BrokenModel(name=row.name, reason=row.broken) for row in listed if row.broken),
        free_bytes=space[0],
        floor_bytes=space[1],
        gc_withheld=tuple(withheld),
        fault=unknown,
    )
