"""The operator corrects the configuration."""

from __future__ import annotations

from appliance.errors.base import OutpostError


class ConfigError(OutpostError):
    def __init__(self, *, source: str, key: str, value: object, expected: str) -> None:
        super().__init__(
            f"{source}: {key} = {value!r}: expected {expected}",
            source=source,
            key=key,
            value=repr(value),
            expected=expected,
        )
