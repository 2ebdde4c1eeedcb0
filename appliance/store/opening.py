"""Opening the store of a data directory, by the daemon or, when none runs, by the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from appliance.config import StoreSettings
from appliance.store.build import Quantize
from appliance.store.files import Files
from appliance.store.gate import Probe
from appliance.store.optimize import Optimizing
from appliance.store.places import FOLDER
from appliance.store.settings import policy_of
from appliance.store.store import ModelStore
from appliance.store.verbs import Calibrating


def open_store(  # noqa: PLR0913 - the parts of a composition, all by name
    data_dir: Path,
    settings: StoreSettings,
    *,
    probe: Probe | None = None,
    quantize: Quantize | None = None,
    available_bytes: Callable[[], int | None] = lambda: None,
    on_change: Callable[[], None] = lambda: None,
    in_use: Callable[[], Collection[str]] = frozenset,
    optimizing: Optimizing = Optimizing(),  # noqa: B008 - frozen
    calibrating: Calibrating | None = None,
    files: Files = Files(),  # noqa: B008 - stateless
) -> ModelStore:
    """To be closed by the caller. Raises StoreInUse, StoreFault."""
    return ModelStore(
        data_dir / FOLDER,
        policy_of(settings),
        probe=probe,
        quantize=quantize,
        available_bytes=available_bytes,
        on_change=on_change,
        in_use=in_use,
        optimizing=optimizing,
        calibrating=calibrating,
        files=files,
    )
