"""THE table from error types to HTTP, and the OpenAI error object. No other place knows a status of an error.

    {"error": {"message", "type", "param", "code"}}         always all four keys; null where there is nothing

`insufficient_memory` has a fifth, `reason`, where the GPU's driver refused what the plan had (docs/truth.md).

Below `/v2` the same fault is told in OCI's form (`registry_errors.py`), below `/api` in Ollama's
(`ollama_errors.py`), for `/v1/messages` in Anthropic's (`anthropic_errors.py`).

`tests/unit/api/test_error_responses.py` walks every leaf of `errors` and fails on one without a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import falcon
import msgspec

from appliance import errors, log
from appliance.api import anthropic_errors, ollama_errors, registry_errors
from appliance.api.exchange import exchange_of

_log = log.logger("api")


@dataclass(frozen=True, slots=True)
class Row:
    status: int
    type: str
    """OpenAI's."""
    code: str
    retry: bool = False
    """Send Retry-After with the error's `retry_after_s`."""


TABLE: Final[dict[type[errors.OutpostError], Row]] = {
    errors.InvalidRequest: Row(400, "invalid_request_error", "invalid_value"),
    errors.Unsupported: Row(400, "invalid_request_error", "unsupported_parameter"),
    errors.ContextLengthExceeded: Row(400, "invalid_request_error", "context_length_exceeded"),
    errors.BodyTooLarge: Row(413, "invalid_request_error", "body_too_large"),
    errors.ModelNotFound: Row(404, "invalid_request_error", "model_not_found"),
    errors.InvalidReference: Row(400, "invalid_request_error", "invalid_reference"),
    errors.ResponseNotFound: Row(404, "invalid_request_error", "response_not_found"),
    errors.PreviousResponseNotFound: Row(400, "invalid_request_error", "previous_response_not_found"),
    errors.OutboundRefused: Row(403, "permission_error", "outbound_refused"),
    errors.ModelInUse: Row(409, "invalid_request_error", "model_in_use"),
    errors.Unauthenticated: Row(401, "authentication_error", "invalid_api_key"),
    errors.NotAllowed: Row(403, "permission_error", "not_allowed"),
    errors.ScopeMissing: Row(403, "permission_error", "insufficient_scope"),
    errors.ModelNotAllowed: Row(403, "permission_error", "model_not_allowed"),
    errors.KeyNotFound: Row(404, "invalid_request_error", "key_not_found"),
    errors.LastAdminKey: Row(409, "invalid_request_error", "last_admin_key"),
    errors.FirstKeyNeedsAdmin: Row(409, "invalid_request_error", "first_key_needs_admin"),
    errors.ClaimRefused: Row(403, "permission_error", "claim_refused"),
    errors.Cancelled: Row(499, "invalid_request_error", "cancelled"),
    errors.RequestNotFound: Row(404, "invalid_request_error", "request_not_found"),
    errors.RequestIdInUse: Row(409, "invalid_request_error", "request_id_in_use"),
    errors.EventsLost: Row(410, "invalid_request_error", "events_lost"),
    errors.ClientGone: Row(499, "invalid_request_error", "client_gone"),
    errors.Overloaded: Row(503, "server_error", "overloaded", retry=True),
    errors.ModelLoading: Row(503, "server_error", "model_loading", retry=True),
    errors.DeadlineExceeded: Row(504, "server_error", "deadline_exceeded", retry=True),
    errors.MachineBusy: Row(503, "server_error", "machine_busy", retry=True),
    errors.ShuttingDown: Row(503, "server_error", "shutting_down", retry=True),
    errors.TooManyAttempts: Row(429, "rate_limit_error", "too_many_attempts", retry=True),
    errors.Throttled: Row(503, "server_error", "thermal_throttle", retry=True),
    errors.RateLimited: Row(429, "rate_limit_error", "rate_limit_exceeded", retry=True),
    errors.PromptExceedsQuota: Row(429, "rate_limit_error", "prompt_exceeds_quota"),
    errors.AuditUnwritable: Row(507, "server_error", "audit_unwritable"),
    errors.InsufficientMemory: Row(503, "server_error", "insufficient_memory"),
    errors.GpuUnavailable: Row(503, "server_error", "gpu_unavailable"),
    errors.AddressInUse: Row(500, "server_error", "address_in_use"),
    errors.DataDirInUse: Row(500, "server_error", "data_dir_in_use"),
    errors.StoreInUse: Row(503, "server_error", "store_in_use"),
    errors.InsufficientSpace: Row(507, "server_error", "insufficient_space"),
    errors.FileUnreadable: Row(503, "server_error", "file_unreadable"),
    errors.KeysUnusable: Row(503, "server_error", "keys_unusable"),
    errors.StoreFault: Row(500, "server_error", "store_fault"),
    errors.ModelInvalid: Row(422, "invalid_request_error", "model_invalid"),
    errors.ModelBroken: Row(503, "server_error", "model_broken"),
    errors.DigestMismatch: Row(422, "invalid_request_error", "digest_mismatch"),
    errors.ManifestInvalid: Row(422, "invalid_request_error", "manifest_invalid"),
    errors.ModelfileInvalid: Row(400, "invalid_request_error", "modelfile_invalid"),
    errors.TemplateInvalid: Row(422, "invalid_request_error", "template_invalid"),
    errors.RemoteUnreachable: Row(502, "server_error", "remote_unreachable"),
    errors.RemoteRefused: Row(502, "server_error", "remote_refused"),
    errors.RunnerStartFailed: Row(503, "server_error", "runner_start_failed", retry=True),
    errors.RunnerDied: Row(503, "server_error", "runner_died", retry=True),
    errors.RunnerHung: Row(503, "server_error", "runner_hung", retry=True),
    errors.ModelQuarantined: Row(503, "server_error", "model_quarantined", retry=True),
    errors.EngineFault: Row(500, "server_error", "engine_fault", retry=True),
    errors.ConfigError: Row(500, "server_error", "config_error"),
}

_TOO_MANY: Final = 429
"""Clients try again by themselves, unless they are told not to."""
_INTERNAL: Final = Row(500, "server_error", "internal_error")
_INTERNAL_MESSAGE: Final = "an internal error; the log of the Outpost has the details under this request's id"

_HTTP_CODES: Final = {
    404: "unknown_url",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    431: "headers_too_large",
    501: "not_implemented",
}
"""Codes of the faults that falcon and waitress find themselves."""

_MEANINGS: Final = {404: "there is no such route", 405: "this route does not take that method"}
_REASONS: Final = {
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    529: "Overloaded",
}


@dataclass(slots=True)
class Codes:
    """Of one status."""

    codes: set[str]
    may_retry: bool


def codes_by_status(form: str = "") -> dict[int, Codes]:
    """Status → the codes it may come with, for the OpenAPI document; `form`: that of Ollama or Anthropic,
    which have statuses of their own.
    """
    found: dict[int, Codes] = {}
    internal = Row(_INTERNAL.status, _INTERNAL.type, _INTERNAL.code)
    http = [Row(status, "", code) for status, code in _HTTP_CODES.items()]
    for row in (*(_row_in(form, kind, row) for kind, row in TABLE.items()), internal, *http):
        known = found.setdefault(row.status, Codes(set(), may_retry=False))
        known.codes.add(row.code)
        known.may_retry = known.may_retry or row.retry
    return found


def _row_in(form: str, kind: type[errors.OutpostError], row: Row) -> Row:
    if form == "Ollama":
        return replace(row, status=ollama_errors.STATUSES.get(kind, row.status))
    if form == "Anthropic":
        return replace(row, status=anthropic_errors.status_of(row.status, row.code))
    return row


def status_line(status: int) -> str:
    return f"{status} {_REASONS.get(status) or HTTPStatus(status).phrase}"


def row_of(error: BaseException) -> Row:
    """The row of `error`, or that of its nearest base; `internal_error` for what is none of ours."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return _INTERNAL


def error_object(error: BaseException) -> dict[str, Any]:
    """The body for `error`; an error that is not of our tree says nothing about itself."""
    row = row_of(error)
    if isinstance(error, errors.OutpostError):
        told = _object(error.message, type_=row.type, param=error.param, code=row.code)
        if isinstance(error, errors.InsufficientMemory) and "reason" in error.fields:
            told["error"]["reason"] = error.fields["reason"]
        return told
    return _object(_INTERNAL_MESSAGE, type_=row.type, param=None, code=row.code)


def http_error_object(status: int, message: str) -> dict[str, Any]:
    """The body for a fault found by falcon or waitress."""
    type_ = "invalid_request_error" if status < 500 else "server_error"
    return _object(message, type_=type_, param=None, code=_HTTP_CODES.get(status, "bad_request"))


def retry_after_s(error: BaseException) -> int | None:
    """Whole seconds for the Retry-After header, at least 1; None when a retry is pointless."""
    if not row_of(error).retry:
        return None
    seconds = error.retry_after_s if isinstance(error, errors.CapacityError | errors.RunnerError) else 1.0
    return max(1, math.ceil(seconds))


def install(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Make `app` answer every fault from the table; falcon picks the handler by the error's nearest base."""
    app.add_error_handler(Exception, _answer_unknown)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(errors.OutpostError, _answer)


def _answer(
    req: falcon.Request, resp: falcon.Response, error: errors.OutpostError, _params: dict[str, Any]
) -> None:
    told = exchange_of(req).told(error)
    row = row_of(told)
    _fill(req, resp, row.status, error_object(told), error=told)
    exchange_of(req).error_code = row.code
    if (seconds := retry_after_s(told)) is not None:
        resp.set_header("Retry-After", str(seconds))
    if isinstance(error, errors.RateLimited):
        resp.set_header("Retry-After-Ms", str(math.ceil(error.retry_after_s * 1000)))
    if row.status == _TOO_MANY and not row.retry:
        resp.set_header("X-Should-Retry", "false")
    if row.status == 401:
        is_registry = registry_errors.is_registry(req.path)
        resp.set_header("WWW-Authenticate", registry_errors.CHALLENGE if is_registry else "Bearer")


def _answer_http_error(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: dict[str, Any]
) -> None:
    message = (
        error.description or f"{req.method} {req.path[:256]}: {_MEANINGS.get(error.status_code, error.title)}"
    )
    body = http_error_object(error.status_code, message)
    _fill(req, resp, error.status_code, body, registry_code=getattr(error, "registry_code", None))
    exchange_of(req).error_code = body["error"]["code"]
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)


def _answer_unknown(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """A bug of ours: the caller learns that it is one, the log learns what it is."""
    _log.error("request_failed", request_id=exchange_of(req).request_id, exc_info=error)
    _fill(req, resp, _INTERNAL.status, error_object(error))
    exchange_of(req).error_code = _INTERNAL.code


def _fill(
    req: falcon.Request,
    resp: falcon.Response,
    status: int,
    body: dict[str, Any],
    *,
    registry_code: str | None = None,
    error: Exception | None = None,
) -> None:
    if registry_errors.is_registry(req.path):
        body = registry_errors.registry_object(body, code=registry_code)
    elif ollama_errors.is_ollama(req.path):
        body = ollama_errors.ollama_object(body, error, path=req.path)
        status = ollama_errors.status_of(error, status) if error is not None else status
    elif anthropic_errors.is_anthropic(req.path):
        status = anthropic_errors.status_of(status, body["error"]["code"])
        body = anthropic_errors.error_object(body, status, exchange_of(req).request_id)
    resp.status = status_line(status)
    resp.content_type = "application/json"
    resp.data = msgspec.json.encode(body)
    resp.text = None
    resp.stream = None


def _object(message: str, *, type_: str, param: str | None, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}
