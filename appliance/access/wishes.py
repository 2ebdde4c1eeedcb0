"""What is asked of the keys, as values: one body, checked. The daemon's door and the command line share it,
so both take the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from appliance.access.grants import Bounds
from appliance.access.keys import StoredKey
from appliance.access.scopes import DEFAULT, Scope
from appliance.errors import InvalidRequest

MOST_GRACE_S: Final = 30 * 86400.0
_MOST_LIFE_S: Final = 100 * 365 * 86400.0

Name = Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Note = Annotated[str, Meta(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
Scopes = Annotated[frozenset[Scope], Meta(min_length=1)]
Pattern = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x20\x7f]+$")]
Models = Annotated[tuple[Pattern, ...], Meta(max_length=256)]
Life = Annotated[float, Meta(gt=0, le=_MOST_LIFE_S)]
Count = Annotated[int, Meta(ge=1, le=1 << 40)]

_BOUNDS: Final = tuple(Bounds.__dataclass_fields__)


class _Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field that is left out changes nothing; null takes a limit away."""

    name: Name | UnsetType = UNSET
    note: Note | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    models: Models | UnsetType = UNSET
    """Empty: all."""
    expires_in_s: Life | UnsetType | None = UNSET
    """From now; None: never."""
    requests_per_min: Count | UnsetType | None = UNSET
    tokens_per_min: Count | UnsetType | None = UNSET
    tokens_per_day: Count | UnsetType | None = UNSET
    concurrency: Count | UnsetType | None = UNSET
    max_context: Count | UnsetType | None = UNSET
    background_only: bool | UnsetType = UNSET


class CreateKey(_Wish, frozen=True, kw_only=True):
    """A new key; `infer` where it names no scope."""

    force: bool = False
    """Also when it is the first, and nobody could change keys afterwards."""


class EditKey(_Wish, frozen=True, kw_only=True):
    """Other properties of a key."""

    force: bool = False
    """Also when nobody could change keys afterwards."""


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new secret under the same id."""

    grace_s: Annotated[float, Meta(ge=0, le=MOST_GRACE_S)] = 0.0
    """For so long the old one holds, too."""


class TakeClaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first key with keys:admin, for who has read the console."""

    claim: Annotated[str, Meta(max_length=256)]
    name: Name = "administrator"


Wish = TypeVar("Wish", bound=msgspec.Struct)


def parse(kind: type[Wish], body: Mapping[str, object]) -> Wish:
    """Raises InvalidRequest that names the field."""
    try:
        return msgspec.convert(body, type=kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        told = reason[:1].lower() + reason[1:]
        raise InvalidRequest(reason=told, param=where.rstrip("`") or None) from error


def to_body(wish: msgspec.Struct) -> dict[str, Any]:
    """What `parse` reads."""
    body: dict[str, Any] = msgspec.to_builtins(wish)
    return body


def applied(wish: CreateKey | EditKey, key: StoredKey, *, now_s: float) -> StoredKey:
    """`key` with what is wished. Pure."""
    told = {
        field: getattr(wish, field)
        for field in ("name", "note", "scopes", "models")
        if getattr(wish, field) is not UNSET
    }
    limits = {field: value for field in _BOUNDS if (value := getattr(wish, field)) is not UNSET}
    if wish.expires_in_s is not UNSET:
        told["expires_s"] = None if wish.expires_in_s is None else now_s + wish.expires_in_s
    return replace(key, bounds=replace(key.bounds, **limits), **told)


def drafted(wish: CreateKey, *, sha256: str, now_s: float) -> StoredKey:
    """The key that is wished for."""
    return applied(wish, StoredKey(sha256=sha256, scopes=DEFAULT, created_s=now_s), now_s=now_s)
