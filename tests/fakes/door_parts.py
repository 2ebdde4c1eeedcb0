"""The parts of a door, told by the names of their fields alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from appliance.api.parts import Credentials, Device, Kept, Metrics, Network, Parts, Stored
from appliance.supervisor.inference import Inference
from tests.fakes.fake_health import report_of

_GROUPS = {
    "network": Network,
    "credentials": Credentials,
    "stored": Stored,
    "metrics": Metrics,
    "device": Device,
    "kept": Kept,
}


def parts_of(inference: Inference, **settings: Any) -> Parts:
    """Each setting goes to the group that has a field of its name, or else to `Parts`. Raises TypeError where
    nobody has. Without a `report`, all that is served is well.
    """
    told = settings if "report" in settings else {"report": report_of(inference), **settings}
    groups: dict[str, Any] = {}
    for name, group in _GROUPS.items():
        names = {field.name for field in fields(group)} & told.keys()
        groups[name] = group(**{one: told.pop(one) for one in names})
    return Parts(inference=inference, **told, **groups)
