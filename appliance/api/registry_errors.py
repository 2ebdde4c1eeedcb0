"""Faults below `/v2` in the form of OCI's distribution-spec: {"errors": [{"code", "message", "detail"}]}.

The statuses are those of the one table (`error_responses.py`); here stand only OCI's words for them. A test
walks the same leaves.
"""

from __future__ import annotations

from typing import Any, Final

PREFIX: Final = "/v2"

_BY_CODE: Final = {
    "invalid_reference": "NAME_INVALID",
    "model_not_found": "MANIFEST_UNKNOWN",
    "model_broken": "BLOB_UNKNOWN",
    "manifest_invalid": "MANIFEST_INVALID",
    "digest_mismatch": "DIGEST_INVALID",
    "invalid_api_key": "UNAUTHORIZED",
    "not_allowed": "DENIED",
    "insufficient_scope": "DENIED",
    "overloaded": "TOOMANYREQUESTS",
    "method_not_allowed": "UNSUPPORTED",
    "unknown_url": "NAME_UNKNOWN",
}
_UNNAMED: Final = "UNKNOWN"
"""distribution-spec: the code of what has no other."""

CHALLENGE: Final = 'Basic realm="outpost", charset="UTF-8"'
"""What registry clients understand without a token service: any user name, the key as the password."""


def is_registry(path: str) -> bool:
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def registry_object(body: dict[str, Any], *, code: str | None = None) -> dict[str, Any]:
    """`body` of the OpenAI form in OCI's. `code` where the route knows it better."""
    error = body["error"]
    told = code or _BY_CODE.get(error["code"], _UNNAMED)
    return {"errors": [{"code": told, "message": error["message"], "detail": {"code": error["code"]}}]}
