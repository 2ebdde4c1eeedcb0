"""Exit codes of errors that this process meets itself: those of `serve`, and of the store without a daemon.

Apart from `exits.py`, because a command that asks a daemon needs nothing of the tree of errors.
"""

from __future__ import annotations

from typing import Final

from appliance import errors
from appliance.cli.exits import Exit

_BY_TYPE: Final[tuple[tuple[type[errors.OutpostError], Exit], ...]] = (
    (errors.ModelNotFound, Exit.NO_INPUT),
    (errors.Unauthenticated, Exit.NOT_ALLOWED),
    (errors.NotAllowed, Exit.NOT_ALLOWED),
    (errors.ScopeMissing, Exit.NOT_ALLOWED),
    (errors.OutboundRefused, Exit.NOT_ALLOWED),
    (errors.ModelNotAllowed, Exit.NOT_ALLOWED),
    (errors.KeyNotFound, Exit.NO_INPUT),
    (errors.LastAdminKey, Exit.NOT_ALLOWED),
    (errors.FirstKeyNeedsAdmin, Exit.NOT_ALLOWED),
    (errors.ClaimRefused, Exit.NOT_ALLOWED),
    (errors.ModelInUse, Exit.TEMPORARY),
    (errors.PromptExceedsQuota, Exit.NOT_ALLOWED),
    (errors.RequestError, Exit.DATA),
    (errors.CapacityError, Exit.TEMPORARY),
    (errors.AddressInUse, Exit.TEMPORARY),
    (errors.DataDirInUse, Exit.TEMPORARY),
    (errors.StoreInUse, Exit.TEMPORARY),
    (errors.InsufficientSpace, Exit.DISK),
    (errors.FileUnreadable, Exit.DISK),
    (errors.KeysUnusable, Exit.DISK),
    (errors.StoreFault, Exit.DISK),
    (errors.AuditUnwritable, Exit.DISK),
    (errors.ResourceError, Exit.UNAVAILABLE),
    (errors.ContentError, Exit.DATA),
    (errors.RemoteError, Exit.UNAVAILABLE),
    (errors.EngineFault, Exit.INTERNAL),
    (errors.RunnerError, Exit.TEMPORARY),
    (errors.ConfigError, Exit.CONFIG),
)


def of_error(error: errors.OutpostError) -> Exit:
    """That of the first row whose type fits."""
    return next((exit_code for kind, exit_code in _BY_TYPE if isinstance(error, kind)), Exit.INTERNAL)
