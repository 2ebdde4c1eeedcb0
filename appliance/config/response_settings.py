"""Settings of what is kept of conversations. Declared as those of `settings.py`."""

from __future__ import annotations

from appliance.config.section import MIB, Section, setting


class ResponseSettings(Section):
    """Answers of /v1/responses that can be asked for again, or gone on from, by their id. They are kept in
    memory only, each for the key that asked (without keys: for the address). When it is full, the oldest of
    the key that has most goes.
    """

    max_count: int = setting(
        1000, "Responses kept over all keys; 0: none.", unit="responses", ge=0, le=100_000
    )
    max_bytes: int = setting(
        64 * MIB, "Memory that they may take, over all keys.", unit="bytes", ge=64 * 1024, le=16_384 * MIB
    )
    max_age_s: float = setting(86400.0, "How long one is kept.", unit="s", ge=1, le=31_536_000)
