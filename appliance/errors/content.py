"""What came from outside is wrong."""

from __future__ import annotations

from appliance.errors.base import OutpostError


class ContentError(OutpostError):
    """A file from outside is not what it claims to be."""


class ModelInvalid(ContentError):
    def __init__(self, *, model: str, reason: str) -> None:
        super().__init__(f"model '{model}' does not load: {reason}", model=model, reason=reason)


class ModelBroken(ContentError):
    def __init__(self, *, model: str, reason: str) -> None:
        super().__init__(
            f"model '{model}' is broken: {reason}; pull or import it again to repair it",
            model=model,
            reason=reason,
        )


class DigestMismatch(ContentError):
    def __init__(self, *, what: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{what} is not what its digest says: expected {expected}, got {actual}",
            what=what,
            expected=expected,
            actual=actual,
        )


class ManifestInvalid(ContentError):
    def __init__(self, *, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}", what=what, reason=reason)


class ModelfileInvalid(ContentError):
    def __init__(self, *, line: int, reason: str) -> None:
        super().__init__(f"(line {line}): {reason}" if line else reason, line=line, reason=reason)


class TemplateInvalid(ContentError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the chat template cannot be used: {reason}", reason=reason)
