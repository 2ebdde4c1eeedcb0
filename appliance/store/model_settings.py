"""The parameters of a stored model, as settings of the engine. Apart from `serving`: who asks whether a model
fits needs no more of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import ModelInvalid
from appliance.modelfile.parameters import PARAMETERS, EngineSettings, engine_settings


def settings_of(params: Mapping[str, object], *, model: str) -> EngineSettings:
    """What nobody here knows is passed over: a pulled model may have more than we serve. Raises ModelInvalid
    for values that are out of bounds.
    """
    try:
        return engine_settings({name: value for name, value in params.items() if name in PARAMETERS})
    except ValueError as error:
        raise ModelInvalid(model=model, reason=str(error)) from error
