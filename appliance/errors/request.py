"""The caller changes the request."""

from __future__ import annotations

from appliance.errors.base import OutpostError


class RequestError(OutpostError):
    """The caller must change the request; the same bytes will fail again."""


class InvalidRequest(RequestError):
    def __init__(self, *, reason: str, param: str | None = None) -> None:
        super().__init__(f"{param}: {reason}" if param else reason, reason=reason, param=param)


class Unsupported(RequestError):
    def __init__(self, *, feature: str, reason: str, param: str | None = None) -> None:
        super().__init__(f"{feature} is not supported: {reason}", feature=feature, reason=reason, param=param)


class ContextLengthExceeded(RequestError):
    def __init__(
        self,
        *,
        prompt_tokens: int,
        limit_tokens: int,
        requested_tokens: int = 0,
        is_projected: bool = False,
        is_of_key: bool = False,
    ) -> None:
        """`is_projected`: the prompt was too long to be counted whole. `is_of_key`: the model could do more,
        the key may not.
        """
        about = "about " if is_projected else ""
        asked = f" and {requested_tokens} were asked for in the answer" if requested_tokens else ""
        limit = "this key may use" if is_of_key else "this model serves"
        super().__init__(
            f"the prompt has {about}{prompt_tokens} tokens{asked}, but {limit} {limit_tokens} tokens per "
            "request; shorten the prompt: it is never cut silently",
            prompt_tokens=prompt_tokens,
            limit_tokens=limit_tokens,
            requested_tokens=requested_tokens,
            is_projected=is_projected,
            is_of_key=is_of_key,
        )


class BodyTooLarge(RequestError):
    def __init__(self, *, size_bytes: int | None, limit_bytes: int) -> None:
        size = f"{size_bytes} bytes" if size_bytes is not None else "more"
        super().__init__(
            f"the body has {size}, the limit is {limit_bytes} bytes",
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


class ModelNotFound(RequestError):
    def __init__(self, *, model: str, available: list[str]) -> None:
        known = ", ".join(available) if available else "none"
        super().__init__(f"model '{model}' not found; available: {known}", model=model, available=available)

    @property
    def param(self) -> str | None:
        return "model"


class InvalidReference(RequestError):
    def __init__(self, *, text: str, reason: str) -> None:
        super().__init__(
            f"{text!r} is no model name: {reason}; the form is [HOST/][NAMESPACE/]MODEL[:TAG][@sha256:...]",
            text=text,
            reason=reason,
        )

    @property
    def param(self) -> str | None:
        return "model"


class ResponseNotFound(RequestError):
    def __init__(self, *, response_id: str) -> None:
        super().__init__(
            f"response '{response_id[:80]}' not found: it is not yours, too old, or was never kept",
            response_id=response_id,
        )


class PreviousResponseNotFound(RequestError):
    """The same of the one that a new response goes on from."""

    def __init__(self, *, response_id: str) -> None:
        super().__init__(
            f"previous response '{response_id[:80]}' not found: it is not yours, too old, or was never "
            "kept; send the whole conversation as 'input'",
            response_id=response_id,
        )

    @property
    def param(self) -> str | None:
        return "previous_response_id"


class OutboundRefused(RequestError):
    def __init__(self, *, host: str) -> None:
        super().__init__(
            f"this Outpost does not call {host!r}: add it to [store] hosts in the configuration, "
            "or bring the model as a file",
            host=host,
        )


class ModelInUse(RequestError):
    def __init__(self, *, model: str, reason: str) -> None:
        super().__init__(f"model '{model}' is in use: {reason}", model=model, reason=reason)


class Unauthenticated(RequestError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"{reason}; send 'Authorization: Bearer KEY'", reason=reason)


class NotAllowed(RequestError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(reason, reason=reason)


class ScopeMissing(RequestError):
    def __init__(self, *, key_id: str, needed: list[str]) -> None:
        scopes = " or ".join(f"'{scope}'" for scope in needed)
        super().__init__(
            f"this key may not do that: it needs the scope {scopes}, which the key {key_id} does not have",
            key_id=key_id,
            needed=needed,
        )


class ModelNotAllowed(RequestError):
    def __init__(self, *, model: str, allowed: list[str]) -> None:
        super().__init__(
            f"this key may not change '{model}': it is for models named {', '.join(allowed)}",
            model=model,
            allowed=allowed,
        )

    @property
    def param(self) -> str | None:
        return "model"


class KeyNotFound(RequestError):
    def __init__(self, *, key_id: str) -> None:
        super().__init__(f"no key has the id {key_id!r}; `outpost keys list` shows all", key_id=key_id)


class LastAdminKey(RequestError):
    def __init__(self, *, key_id: str) -> None:
        super().__init__(
            f"{key_id} is the last key with keys:admin: without it no key can be changed over the network; "
            "make another one first, or force it",
            key_id=key_id,
        )


class FirstKeyNeedsAdmin(RequestError):
    def __init__(self) -> None:
        super().__init__(
            "the first key shuts the door to all who have none, and without keys:admin nobody could make or "
            "revoke keys while the daemon runs; make the administrator's first, as in: outpost keys create "
            "--name admin --scope keys:admin,infer; or force it"
        )


class ClaimRefused(RequestError):
    """One sentence for all causes: who guesses learns nothing."""

    def __init__(self) -> None:
        super().__init__(
            "this is not the claim of this Outpost, or it was taken, or was made before its last start; what "
            "holds now, if anything, stands on its console"
        )


class PromptExceedsQuota(RequestError):
    """No waiting helps."""

    def __init__(self, *, bound: str, limit: int, prompt_tokens: int) -> None:
        per = "day" if bound == "tokens_per_day" else "minute"
        super().__init__(
            f"the prompt has {prompt_tokens} tokens, and this key may never use more than {limit} per {per}; "
            "send less, or ask the operator for more",
            bound=bound,
            limit=limit,
            prompt_tokens=prompt_tokens,
        )


class Cancelled(RequestError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the request was cancelled: {reason}", reason=reason)


class RequestNotFound(RequestError):
    def __init__(self, *, request_id: str) -> None:
        """It is not there, or another key's."""
        super().__init__(
            f"no request of yours with the id '{request_id}' runs, waits or is kept", request_id=request_id
        )


class RequestIdInUse(RequestError):
    def __init__(self, *, request_id: str) -> None:
        super().__init__(
            f"a stream with the id '{request_id}' is kept already; take it up at "
            f"/outpost/v1/streams/{request_id}, or send another X-Request-Id",
            request_id=request_id,
        )


class EventsLost(RequestError):
    def __init__(self, *, wanted: int, first: int) -> None:
        super().__init__(
            f"the events from {wanted} on are wanted, those before {first} are not kept any more; ask anew",
            wanted=wanted,
            first=first,
        )


class ClientGone(RequestError):
    """Nobody reads this; it ends the work and stands in the log."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection before the answer began")
