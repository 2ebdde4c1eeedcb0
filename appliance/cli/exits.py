"""How a command ends: sysexits codes, the `Failure` that carries one, and the table that chooses it.

Exit codes are the CLI's words as statuses are HTTP's, so they live here and not in `errors`. What a daemon
reports over HTTP is mapped by its error code first and its status second; what `serve`, or the store without
a daemon, raises itself is mapped by its type (`own_errors.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """The values are those of sysexits.h; 130 and 141 are the shell's for SIGINT and SIGPIPE."""

    OK = os.EX_OK
    USAGE = os.EX_USAGE
    DATA = os.EX_DATAERR
    NO_INPUT = os.EX_NOINPUT
    UNAVAILABLE = os.EX_UNAVAILABLE
    INTERNAL = os.EX_SOFTWARE
    DISK = os.EX_IOERR
    TEMPORARY = os.EX_TEMPFAIL
    PROTOCOL = os.EX_PROTOCOL
    NOT_ALLOWED = os.EX_NOPERM
    CONFIG = os.EX_CONFIG
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANING: Final[dict[Exit, str]] = {
    Exit.OK: "done",
    Exit.USAGE: "wrong usage: unknown option, missing argument",
    Exit.DATA: "the request or a file is wrong: bad schema, prompt too long",
    Exit.NO_INPUT: "no such file or model",
    Exit.UNAVAILABLE: "no daemon or registry answers, or it is not ready or lacks memory",
    Exit.INTERNAL: "a fault of ours; the daemon's log has the details",
    Exit.DISK: "the disk is full or fails",
    Exit.TEMPORARY: "try later: queue full, model loading, runner restarting, address or directory in use",
    Exit.PROTOCOL: "the server does not speak this API",
    Exit.NOT_ALLOWED: "key missing, wrong, or not allowed to do this",
    Exit.CONFIG: "bad configuration",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
    Exit.PIPE_CLOSED: "the reader of the output went away (as with head)",
}


GET_A_MODEL: Final = "get it with: outpost pull NAME, or: outpost import FILE NAME"


class Failure(Exception):
    """The end of a command: one sentence with the next step in it, an exit code, and the error's code for
    `--json`.
    """

    def __init__(
        self, exit_code: Exit, message: str, *, code: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s


@contextmanager
def adding(hint: str, *, to: str) -> Iterator[None]:
    """A failure with the code `to` has one more next step, which only this command knows."""
    try:
        yield
    except Failure as failure:
        if failure.code != to:
            raise
        raise Failure(failure.exit_code, f"{failure.message}; {hint}", code=failure.code) from failure


_BY_CODE: Final[dict[str, Exit]] = {
    "context_length_exceeded": Exit.DATA,
    "invalid_value": Exit.DATA,
    "unsupported": Exit.DATA,
    "model_not_found": Exit.NO_INPUT,
    "request_not_found": Exit.NO_INPUT,
    "cancelled": Exit.TEMPORARY,
    "invalid_api_key": Exit.NOT_ALLOWED,
    "model_not_allowed": Exit.NOT_ALLOWED,
    "not_allowed": Exit.NOT_ALLOWED,
    "insufficient_scope": Exit.NOT_ALLOWED,
    "key_not_found": Exit.NO_INPUT,
    "last_admin_key": Exit.NOT_ALLOWED,
    "first_key_needs_admin": Exit.NOT_ALLOWED,
    "claim_refused": Exit.NOT_ALLOWED,
    "too_many_attempts": Exit.TEMPORARY,
    "keys_unusable": Exit.DISK,
    "rate_limit_exceeded": Exit.TEMPORARY,
    "insufficient_quota": Exit.NOT_ALLOWED,
    "prompt_exceeds_quota": Exit.NOT_ALLOWED,
    "audit_unwritable": Exit.DISK,
    "overloaded": Exit.TEMPORARY,
    "model_loading": Exit.TEMPORARY,
    "machine_busy": Exit.TEMPORARY,
    "shutting_down": Exit.TEMPORARY,
    "insufficient_memory": Exit.UNAVAILABLE,
    "invalid_reference": Exit.DATA,
    "model_in_use": Exit.TEMPORARY,
    "outbound_refused": Exit.NOT_ALLOWED,
    "store_in_use": Exit.TEMPORARY,
    "insufficient_space": Exit.DISK,
    "store_fault": Exit.DISK,
    "model_invalid": Exit.DATA,
    "model_broken": Exit.DATA,
    "digest_mismatch": Exit.DATA,
    "manifest_invalid": Exit.DATA,
    "modelfile_invalid": Exit.DATA,
    "template_invalid": Exit.DATA,
    "remote_unreachable": Exit.UNAVAILABLE,
    "remote_refused": Exit.UNAVAILABLE,
    "runner_died": Exit.TEMPORARY,
    "runner_hung": Exit.TEMPORARY,
    "runner_start_failed": Exit.TEMPORARY,
    "model_quarantined": Exit.TEMPORARY,
    "engine_fault": Exit.INTERNAL,
    "internal_error": Exit.INTERNAL,
}

_BY_STATUS: Final[dict[int, Exit]] = {
    401: Exit.NOT_ALLOWED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NO_INPUT,
    408: Exit.TEMPORARY,
    429: Exit.TEMPORARY,
    500: Exit.INTERNAL,
    501: Exit.UNAVAILABLE,
    502: Exit.TEMPORARY,
    503: Exit.TEMPORARY,
    504: Exit.TEMPORARY,
    507: Exit.UNAVAILABLE,
}


def of_reply(status: int | None, code: str | None) -> Exit:
    """The exit code for an error a server reported. `status` is None for an error event in the middle of a
    stream.
    """
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status is None:
        return Exit.INTERNAL
    return _BY_STATUS.get(status, Exit.DATA if 400 <= status < 500 else Exit.INTERNAL)
