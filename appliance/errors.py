"""The one error tree of Outpost, grouped by who must act.

    OutpostError
    ├── RequestError        the caller changes the request
    │   ├── InvalidRequest          a field is wrong (its name is in `param`)
    │   ├── ContextLengthExceeded   the prompt does not fit; both counts
    │   ├── Unsupported             a field or feature this model or build does not honour
    │   ├── BodyTooLarge            more bytes than the door takes
    │   ├── ModelNotFound
    │   ├── InvalidReference        not a model name, tag or digest
    │   ├── OutboundRefused         the configuration does not name this host
    │   ├── Unauthenticated         no key, or a wrong one
    │   ├── NotAllowed              the key may not do this
    │   ├── ModelInUse              it is served or pulled just now
    │   └── ClientGone              the caller hung up before the answer began
    ├── CapacityError       try later; `retry_after_s` says when
    │   ├── Overloaded              the bounded queue is full
    │   ├── ModelLoading            not ready within the caller's patience
    │   ├── DeadlineExceeded        the answer was not complete in time
    │   └── ShuttingDown
    ├── ResourceError       the operator acts
    │   ├── InsufficientMemory
    │   ├── AddressInUse
    │   ├── DataDirInUse            another daemon writes there
    │   ├── StoreInUse              another process works on the model store
    │   ├── InsufficientSpace       the disk; both counts
    │   └── StoreFault              the disk refuses: I/O error, read-only, no more files
    ├── ContentError        the content is wrong
    │   ├── ModelInvalid            a GGUF that does not load, or that admission refuses
    │   ├── ModelBroken             stored once, but its bytes have changed since
    │   ├── DigestMismatch          bytes that are not what their digest says
    │   ├── ManifestInvalid         an OCI or Ollama manifest, index or layout
    │   ├── ModelfileInvalid        with the line
    │   └── TemplateInvalid         a chat template that cannot be converted
    ├── RemoteError         another machine failed
    │   ├── RemoteUnreachable       no answer, or it broke off
    │   └── RemoteRefused           an answer that says no
    ├── RunnerError         our fault, contained in one runner
    │   ├── RunnerStartFailed
    │   ├── RunnerDied              the process ended in mid-work
    │   ├── RunnerHung              no heartbeat within its bound; it was killed
    │   ├── ModelQuarantined        crashed too often in a row
    │   └── EngineFault             the engine failed one request and lives on
    └── ConfigError         file, key, value, bounds

Types carry fields, the class builds the sentence, and raise sites stay short. No HTTP here: the one table
that maps types to statuses is `api/error_responses.py`. Errors cross the wire by name and fields (`to_wire`,
`from_wire`).
"""

from __future__ import annotations

from typing import Any, ClassVar


class OutpostError(Exception):
    """Root of the tree. `fields` are the keyword arguments of the constructor, so that it can be rebuilt from
    the wire.
    """

    fields: dict[str, Any]

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.fields = fields

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def param(self) -> str | None:
        """The request field at fault, where there is one."""
        value = self.fields.get("param")
        return value if isinstance(value, str) else None


# ── the caller changes the request ──────────────────────────────────────────────────────────────


class RequestError(OutpostError):
    """The caller must change the request; the same bytes will fail again."""


class InvalidRequest(RequestError):
    def __init__(self, *, reason: str, param: str | None = None) -> None:
        super().__init__(f"{param}: {reason}" if param else reason, reason=reason, param=param)


class Unsupported(RequestError):
    def __init__(self, *, feature: str, reason: str, param: str | None = None) -> None:
        super().__init__(f"{feature} is not supported: {reason}", feature=feature, reason=reason, param=param)


class ContextLengthExceeded(RequestError):
    def __init__(self, *, prompt_tokens: int, limit_tokens: int, requested_tokens: int = 0) -> None:
        asked = f" and {requested_tokens} were asked for in the answer" if requested_tokens else ""
        super().__init__(
            f"the prompt has {prompt_tokens} tokens{asked}, but this model serves {limit_tokens} tokens "
            "per request; shorten the prompt: it is never cut silently",
            prompt_tokens=prompt_tokens,
            limit_tokens=limit_tokens,
            requested_tokens=requested_tokens,
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


class ClientGone(RequestError):
    """Nobody reads this; it ends the work and stands in the log."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection before the answer began")


# ── try later ───────────────────────────────────────────────────────────────────────────────────


class CapacityError(OutpostError):
    """The same request may succeed after `retry_after_s`."""

    @property
    def retry_after_s(self) -> float:
        return float(self.fields["retry_after_s"])


class Overloaded(CapacityError):
    def __init__(self, *, waiting: int, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"the queue is full: {waiting} of {limit} requests wait; retry in {retry_after_s:.0f} s",
            waiting=waiting,
            limit=limit,
            retry_after_s=retry_after_s,
        )


class ModelLoading(CapacityError):
    def __init__(self, *, model: str, waited_s: float, retry_after_s: float) -> None:
        super().__init__(
            f"model '{model}' was not ready within {waited_s:.0f} s; retry in {retry_after_s:.0f} s",
            model=model,
            waited_s=waited_s,
            retry_after_s=retry_after_s,
        )


class DeadlineExceeded(CapacityError):
    def __init__(self, *, limit_s: float, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the answer was not complete within {limit_s:.0f} s; ask for fewer tokens or stream it",
            limit_s=limit_s,
            retry_after_s=retry_after_s,
        )


class ShuttingDown(CapacityError):
    def __init__(self, *, retry_after_s: float = 5.0) -> None:
        super().__init__("the daemon is shutting down", retry_after_s=retry_after_s)


# ── the operator acts ───────────────────────────────────────────────────────────────────────────


class ResourceError(OutpostError):
    """The board lacks something; an operator must give it or ask for less."""


class InsufficientMemory(ResourceError):
    def __init__(self, *, model: str, needed_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"model '{model}' needs {needed_bytes} bytes, {available_bytes} are available; "
            "lower the context length, take a smaller quantisation, or unload another model",
            model=model,
            needed_bytes=needed_bytes,
            available_bytes=available_bytes,
        )


class AddressInUse(ResourceError):
    def __init__(self, *, address: str) -> None:
        super().__init__(
            f"{address} is in use; stop the other server or choose another with --listen", address=address
        )


class DataDirInUse(ResourceError):
    def __init__(self, *, directory: str) -> None:
        super().__init__(
            f"{directory} is used by another daemon; stop it or choose another directory with --data",
            directory=directory,
        )


class StoreInUse(ResourceError):
    def __init__(self, *, directory: str) -> None:
        super().__init__(
            f"the model store in {directory} is used by another process; ask the daemon that runs there, "
            "or stop it",
            directory=directory,
        )


class InsufficientSpace(ResourceError):
    def __init__(self, *, needed_bytes: int, available_bytes: int, floor_bytes: int, directory: str) -> None:
        super().__init__(
            f"{needed_bytes} bytes are needed in {directory}; {available_bytes} are free, of which "
            f"{floor_bytes} stay free; remove models (outpost rm) or attach a larger disk",
            needed_bytes=needed_bytes,
            available_bytes=available_bytes,
            floor_bytes=floor_bytes,
            directory=directory,
        )


class StoreFault(ResourceError):
    def __init__(self, *, path: str, reason: str) -> None:
        super().__init__(f"the store failed at {path}: {reason}", path=path, reason=reason)


# ── the content is wrong ────────────────────────────────────────────────────────────────────────


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


# ── another machine failed ──────────────────────────────────────────────────────────────────────


class RemoteError(OutpostError):
    """Not our fault and not the caller's; a retry may help."""


class RemoteUnreachable(RemoteError):
    def __init__(self, *, host: str, reason: str) -> None:
        super().__init__(f"{host} does not answer: {reason}", host=host, reason=reason)


class RemoteRefused(RemoteError):
    def __init__(self, *, host: str, status: int, reason: str) -> None:
        super().__init__(f"{host} refused ({status}): {reason}", host=host, status=status, reason=reason)


# ── our fault, contained in one runner ──────────────────────────────────────────────────────────


class RunnerError(OutpostError):
    """A runner failed; the daemon and the other runners did not. A retry meets a fresh runner."""

    @property
    def retry_after_s(self) -> float:
        return float(self.fields.get("retry_after_s", 1.0))


class RunnerStartFailed(RunnerError):
    def __init__(self, *, model: str, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the runner of '{model}' did not start: {reason}",
            model=model,
            reason=reason,
            retry_after_s=retry_after_s,
        )


class RunnerDied(RunnerError):
    def __init__(self, *, model: str, cause: str, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the runner of '{model}' died ({cause}); the next request starts a new one",
            model=model,
            cause=cause,
            retry_after_s=retry_after_s,
        )


class RunnerHung(RunnerError):
    def __init__(self, *, model: str, silent_s: float, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the runner of '{model}' gave no sign of life for {silent_s:.1f} s and was killed",
            model=model,
            silent_s=silent_s,
            retry_after_s=retry_after_s,
        )


class ModelQuarantined(RunnerError):
    def __init__(self, *, model: str, crashes: int, cause: str, retry_after_s: float) -> None:
        super().__init__(
            f"model '{model}' is quarantined after {crashes} crashes in a row (last: {cause}); "
            f"it is tried again in {retry_after_s:.0f} s",
            model=model,
            crashes=crashes,
            cause=cause,
            retry_after_s=retry_after_s,
        )


class EngineFault(RunnerError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the engine failed this request: {reason}", reason=reason)


# ── configuration ───────────────────────────────────────────────────────────────────────────────


class ConfigError(OutpostError):
    def __init__(self, *, source: str, key: str, value: object, expected: str) -> None:
        super().__init__(
            f"{source}: {key} = {value!r}: expected {expected}",
            source=source,
            key=key,
            value=repr(value),
            expected=expected,
        )


# ── crossing the wire ───────────────────────────────────────────────────────────────────────────

_MAX_NAME_CHARS = 80


class _Registry:
    """Closed set of leaf types by name, filled on first use: nothing on the wire can name another class."""

    by_name: ClassVar[dict[str, type[OutpostError]]] = {}

    @classmethod
    def lookup(cls, name: str) -> type[OutpostError] | None:
        if not cls.by_name:
            cls.by_name = {leaf.__name__: leaf for leaf in leaves(OutpostError)}
        return cls.by_name.get(name)


def leaves(root: type[OutpostError]) -> list[type[OutpostError]]:
    """All types below `root` that have no subtype of their own."""
    below = root.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [root]


def to_wire(error: OutpostError) -> tuple[str, dict[str, Any]]:
    return type(error).__name__, error.fields


def from_wire(name: str, fields: dict[str, Any]) -> OutpostError:
    """Rebuild an error sent by `to_wire`. An unknown name or misfit fields become an `EngineFault`, never a
    crash: what a runner sends is untrusted.
    """
    kind = _Registry.lookup(name)
    if kind is None:
        return EngineFault(reason=f"unknown error {name[:_MAX_NAME_CHARS]!r} from the runner")
    try:
        return kind(**fields)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return EngineFault(reason=f"{name} with unexpected fields from the runner")
