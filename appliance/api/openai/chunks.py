"""The envelope of streamed chunks, made once per stream, so that a token costs one small encoding and one
join.
"""

from __future__ import annotations

from typing import Any

from appliance.api.json_reply import encode
from appliance.api.openai.usage import usage_object
from appliance.wire.messages import Usage


class Envelope:
    """Frozen after construction. `{…head,"choices":[` + choice + `]` + tail + `}`, as one event."""

    def __init__(
        self,
        *,
        id_: str,
        object_: str,
        created_s: int,
        model: str,
        fingerprint: str,
        with_usage: bool,
        tier: str | None = None,
    ) -> None:
        head = encode(
            {
                "id": id_,
                "object": object_,
                "created": created_s,
                "model": model,
                "system_fingerprint": fingerprint,
                **tier_object(tier),
            }
        )[:-1]
        self._head = b"data: " + head + b',"choices":['
        self._nulls = b',"usage":null' if with_usage else b""
        self.tail = b"]" + self._nulls + b"}\n\n"

    def choice_head(self, index: int, before: bytes) -> bytes:
        """Everything up to the changing part of a chunk of choice `index`."""
        return self._head + b'{"index":' + str(index).encode() + b"," + before

    def tail_with(self, timings: dict[str, Any]) -> bytes:
        """In place of `tail` after the choice that ends the request: llama-server's timings."""
        return b"]" + self._nulls + b',"timings":' + encode(timings) + b"}\n\n"

    def usage(self, usage: Usage) -> bytes:
        """The one chunk without choices, for those who asked for `include_usage`."""
        return self._head + b'],"usage":' + encode(usage_object(usage)) + b"}\n\n"


def tier_object(asked: str | None) -> dict[str, str]:
    """The tier that was served, for who asked for one."""
    return {} if asked is None else {"service_tier": "flex" if asked == "flex" else "default"}
