"""The one error tree of Outpost, grouped by who must act.

    OutpostError
    ├── RequestError        the caller changes the request
    │   ├── InvalidRequest          a field is wrong (its name is in `param`)
    │   ├── ContextLengthExceeded   the prompt does not fit; both counts
    │   ├── Unsupported             a field or feature this model or build does not honour
    │   ├── BodyTooLarge            more bytes than the door takes
    │   ├── ModelNotFound
    │   ├── InvalidReference        not a model name, tag or digest
    │   ├── ResponseNotFound        not kept, not any more, or another key's
    │   ├── PreviousResponseNotFound  the same of the one that is to be gone on from
    │   ├── OutboundRefused         the configuration does not name this host
    │   ├── Unauthenticated         no key, or a wrong one
    │   ├── NotAllowed              not by this caller, name or web page
    │   ├── ScopeMissing            the key is not for this
    │   ├── ModelNotAllowed         nor for this model
    │   ├── KeyNotFound
    │   ├── LastAdminKey            nobody could change keys any more
    │   ├── FirstKeyNeedsAdmin      the same, from the beginning
    │   ├── ClaimRefused            not what stands on the console
    │   ├── ModelInUse              it is served or pulled just now
    │   ├── PromptExceedsQuota      more tokens than the key may ever use at once
    │   ├── Cancelled               by its id, or nobody took its events
    │   ├── RequestNotFound         no request of this key has that id
    │   ├── RequestIdInUse          a stream with that id is kept
    │   ├── EventsLost              a kept stream does not reach back so far
    │   └── ClientGone              the caller hung up before the answer began
    ├── CapacityError       try later; `retry_after_s` says when
    │   ├── Overloaded              the bounded queue is full
    │   ├── ModelLoading            not ready within the caller's patience
    │   ├── DeadlineExceeded        the answer was not complete in time
    │   ├── MachineBusy             speed is measured only while nobody asks
    │   ├── ShuttingDown
    │   ├── TooManyAttempts         somebody guesses keys or the claim
    │   ├── Throttled               the board is too hot for new requests
    │   └── RateLimited             the key has used what it may for now; which bound
    ├── ResourceError       the operator acts
    │   ├── InsufficientMemory
    │   ├── GpuUnavailable          the model must run on a GPU, and would not
    │   ├── AddressInUse
    │   ├── DataDirInUse            another daemon writes there
    │   ├── StoreInUse              another process works on the model store
    │   ├── InsufficientSpace       the disk; both counts
    │   ├── FileUnreadable          a model's file, just now; what it is, is not known by that
    │   ├── KeysUnusable            their database is damaged, or of a newer version
    │   ├── StoreFault              the disk refuses: I/O error, read-only, no more files
    │   └── AuditUnwritable         what is to be audited cannot be written down
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

A module for each group, and this one to import from. Types carry fields, the class builds the sentence, and
raise sites stay short. No HTTP here: the one table that maps types to statuses is `api/error_responses.py`.
Errors cross the wire by name and fields (`to_wire`, `from_wire`).
"""

from __future__ import annotations

from appliance.errors.base import OutpostError, leaves
from appliance.errors.capacity import (
    CapacityError,
    DeadlineExceeded,
    MachineBusy,
    ModelLoading,
    Overloaded,
    RateLimited,
    ShuttingDown,
    Throttled,
    TooManyAttempts,
)
from appliance.errors.config import ConfigError
from appliance.errors.content import (
    ContentError,
    DigestMismatch,
    ManifestInvalid,
    ModelBroken,
    ModelfileInvalid,
    ModelInvalid,
    TemplateInvalid,
)
from appliance.errors.remote import RemoteError, RemoteRefused, RemoteUnreachable
from appliance.errors.request import (
    BodyTooLarge,
    Cancelled,
    ClaimRefused,
    ClientGone,
    ContextLengthExceeded,
    EventsLost,
    FirstKeyNeedsAdmin,
    InvalidReference,
    InvalidRequest,
    KeyNotFound,
    LastAdminKey,
    ModelInUse,
    ModelNotAllowed,
    ModelNotFound,
    NotAllowed,
    OutboundRefused,
    PreviousResponseNotFound,
    PromptExceedsQuota,
    RequestError,
    RequestIdInUse,
    RequestNotFound,
    ResponseNotFound,
    ScopeMissing,
    Unauthenticated,
    Unsupported,
)
from appliance.errors.resource import (
    AddressInUse,
    AuditUnwritable,
    DataDirInUse,
    FileUnreadable,
    GpuUnavailable,
    InsufficientMemory,
    InsufficientSpace,
    KeysUnusable,
    ResourceError,
    StoreFault,
    StoreInUse,
)
from appliance.errors.runner import (
    EngineFault,
    ModelQuarantined,
    RunnerDied,
    RunnerError,
    RunnerHung,
    RunnerStartFailed,
)
from appliance.errors.wire import from_wire, to_wire

__all__ = [
    "AddressInUse",
    "AuditUnwritable",
    "BodyTooLarge",
    "Cancelled",
    "CapacityError",
    "ClaimRefused",
    "ClientGone",
    "ConfigError",
    "ContentError",
    "ContextLengthExceeded",
    "DataDirInUse",
    "DeadlineExceeded",
    "DigestMismatch",
    "EngineFault",
    "EventsLost",
    "FileUnreadable",
    "FirstKeyNeedsAdmin",
    "GpuUnavailable",
    "InsufficientMemory",
    "InsufficientSpace",
    "InvalidReference",
    "InvalidRequest",
    "KeyNotFound",
    "KeysUnusable",
    "LastAdminKey",
    "MachineBusy",
    "ManifestInvalid",
    "ModelBroken",
    "ModelInUse",
    "ModelInvalid",
    "ModelLoading",
    "ModelNotAllowed",
    "ModelNotFound",
    "ModelQuarantined",
    "ModelfileInvalid",
    "NotAllowed",
    "OutboundRefused",
    "OutpostError",
    "Overloaded",
    "PreviousResponseNotFound",
    "PromptExceedsQuota",
    "RateLimited",
    "RemoteError",
    "RemoteRefused",
    "RemoteUnreachable",
    "RequestError",
    "RequestIdInUse",
    "RequestNotFound",
    "ResourceError",
    "ResponseNotFound",
    "RunnerDied",
    "RunnerError",
    "RunnerHung",
    "RunnerStartFailed",
    "ScopeMissing",
    "ShuttingDown",
    "StoreFault",
    "StoreInUse",
    "TemplateInvalid",
    "Throttled",
    "TooManyAttempts",
    "Unauthenticated",
    "Unsupported",
    "from_wire",
    "leaves",
    "to_wire",
]
