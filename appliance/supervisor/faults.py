"""Errors as they pass between threads and from the wire."""

from __future__ import annotations

from appliance.errors import EngineFault, OutpostError, from_wire, to_wire
from appliance.wire.messages import WireError

_MAX_ERROR_CHARS = 4096
_MAX_RETRY_S = 86_400.0


def fresh(error: OutpostError) -> OutpostError:
    """A copy to raise. One instance raised by many threads would gather all of their tracebacks, and keep
    their frames.
    """
    return from_wire(*to_wire(error))


def believed(wire: WireError) -> OutpostError:
    """The error a runner names, as far as it can be believed: a client will read it, and so will our own
    code.
    """
    error = from_wire(wire.name, wire.fields)
    if _is_sane(error):
        return error
    return EngineFault(reason=f"{wire.name[:80]!r} with unexpected fields from the runner")


def _is_sane(error: OutpostError) -> bool:
    retry_s = error.fields.get("retry_after_s", 0.0)
    is_time = isinstance(retry_s, (int, float)) and 0 <= retry_s < _MAX_RETRY_S
    return is_time and len(error.message) <= _MAX_ERROR_CHARS
