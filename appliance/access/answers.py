"""Keys as JSON, the same over HTTP and from the command line without a daemon."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from appliance.access.key_store import MadeKey, ShownKey

Json = dict[str, Any]


def key_object(shown: ShownKey) -> Json:
    key = shown.key
    return {
        "id": shown.key_id,
        "object": "key",
        "name": key.name,
        "note": key.note,
        "state": shown.state.value,
        "source": "configuration" if key.is_configured else "store",
        "scopes": sorted(key.scopes),
        "models": list(key.models),
        **asdict(key.bounds),
        "created_s": key.created_s,
        "expires_s": key.expires_s,
        "revoked_s": key.revoked_s,
        "last_used_s": key.last_used_s,
        "previous_until_s": key.previous_until_s or None,
    }


def made_object(made: MadeKey) -> Json:
    """With the key itself: shown once, and never again."""
    return {**key_object(made.shown), "key": made.text}


def list_object(shown: list[ShownKey]) -> Json:
    return {"object": "list", "data": [key_object(one) for one in shown]}
