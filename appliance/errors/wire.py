"""How an error crosses the wire: by name and fields, rebuilt only from the closed tree."""

from __future__ import annotations

from typing import Any, ClassVar

from appliance.errors.base import OutpostError, leaves
from appliance.errors.runner import EngineFault

_MAX_NAME_CHARS = 80


class _Registry:
    """Closed set of leaf types by name, filled on first use, when the package has imported all of them:
    nothing on the wire can name another class.
    """

    by_name: ClassVar[dict[str, type[OutpostError]]] = {}

    @classmethod
    def lookup(cls, name: str) -> type[OutpostError] | None:
        if not cls.by_name:
            cls.by_name = {leaf.__name__: leaf for leaf in leaves(OutpostError)}
        return cls.by_name.get(name)


def to_wire(error: OutpostError) -> tuple[str, dict[str, Any]]:
    return type(error).__name__, error.fields


def from_wire(name: str, fields: dict[str, Any]) -> OutpostError:
    """Rebuild an error sent by `to_wire`. An unknown name or misfit fields become an `EngineFault`, never a
    crash: what a runner sends is untrusted.
    """
    kind = _Registry.lookup(name)
    if kind is None:
        return EngineFault(reason=f"unknown error {name[:_MAX_NAME_CHARS]!r} from the runner")
    try:
        return kind(**fields)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return EngineFault(reason=f"{name} with unexpected fields from the runner")
