"""What every table of the configuration is made of: its base, and how one setting is declared."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

MIB: Final = 1024 * 1024


def setting(
    default: Any,
    text: str,
    *,
    unit: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
) -> Any:
    """One setting: default, text, unit and bounds (both inclusive)."""
    return Field(
        default,
        description=text,
        json_schema_extra={"unit": unit} if unit else None,
        ge=ge,
        le=le,
        min_length=min_length,
    )


class Section(BaseModel):
    """Base of all tables: frozen, no unknown key, no silent conversion ("5" is not 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
