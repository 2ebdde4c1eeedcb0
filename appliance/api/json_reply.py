"""JSON on its way out, for all routes."""

from __future__ import annotations

from typing import Any, Final

import falcon
import msgspec

encode: Final = msgspec.json.Encoder().encode
"""Any thread: an Encoder has no state between calls."""


def reply(resp: falcon.Response, told: dict[str, Any] | list[Any]) -> None:
    resp.content_type = "application/json"
    resp.data = encode(told)
