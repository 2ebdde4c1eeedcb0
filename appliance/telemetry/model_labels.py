"""How many models may have series of their own: who scrapes many boards pays for each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.supervisor.status import ModelStatus

MOST_MODELS: Final = 64
OTHER: Final = "other"


class ModelLabels:
    """The first models that ask have labels; all others share one. Guarded by its owner's lock."""

    def __init__(self, most: int = MOST_MODELS) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, model: str) -> str:
        if model in self._known:
            return model
        if len(self._known) < self._most:
            self._known.add(model)
            return model
        return OTHER


def told(models: Sequence[ModelStatus], most: int = MOST_MODELS) -> Sequence[ModelStatus]:
    """Those whose runners are told of: the loaded ones first. What is a gauge cannot be put together, so the
    others are left out, and their number is told (`models_untold`).
    """
    if len(models) <= most:
        return models
    return sorted(models, key=lambda model: model.stats is None)[:most]
