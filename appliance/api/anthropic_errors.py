"""The same faults in Anthropic's form, for `/v1/messages` and all below it. Pure.

    {"type": "error", "error": {"type", "message"}, "request_id"}

What the one table calls 503 because too much is asked is Anthropic's 529; the other statuses stay.
"""

from __future__ import annotations

from typing import Any, Final

_ROUTE: Final = "/v1/messages"
_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OVERLOADED: Final = 529
_OVERLOADED_CODES: Final = frozenset(
    {"overloaded", "model_loading", "machine_busy", "shutting_down", "thermal_throttle"}
)
"""Of the table (`error_responses.py`)."""


def is_anthropic(path: str) -> bool:
    return path == _ROUTE or path.startswith(f"{_ROUTE}/")


def status_of(status: int, code: str | None) -> int:
    return _OVERLOADED if status == 503 and code in _OVERLOADED_CODES else status


def error_object(told: dict[str, Any], status: int, request_id: str) -> dict[str, Any]:
    """`told`: OpenAI's object; `status`: of `status_of`."""
    default = "invalid_request_error" if status < 500 else "api_error"
    error = {"type": _TYPES.get(status, default), "message": told["error"]["message"]}
    return {"type": "error", "error": error, "request_id": request_id}
