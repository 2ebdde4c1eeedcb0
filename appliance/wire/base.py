"""What all messages are made of: the bases, the protocol's number, and errors as they cross."""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL = 1
"""Raised by one with every incompatible change; `Load` carries it, and a runner of another number refuses."""

MAX_FRAME_BYTES = 64 * 1024 * 1024


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the values inside messages."""


class ToRunner(Struct, tag_field="t", tag=True):
    """Base of what the daemon says."""


class FromRunner(Struct, tag_field="t", tag=True):
    """Base of what a runner says."""


class WireError(Struct):
    """An `errors.OutpostError` by name and fields (`errors.to_wire`)."""

    name: str
    fields: dict[str, Any]
