"""What a resource says of itself for the OpenAPI document: one `Operation` for each method, in the attribute
OPERATIONS of its class.

    class Queue:
        OPERATIONS: ClassVar[Operations] = {"GET": Operation(summary="…", tag=Tag.QUEUE, answer=QueueAnswer)}

`document.py` adds what follows from other tables: paths, scopes, the errors that every such operation has. A
law test fails for a route without one (`tests/unit/api/openapi/test_document.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Tag(StrEnum):
    """The chapters of the document, in their order."""

    OPENAI = "OpenAI"
    OLLAMA = "Ollama"
    ANTHROPIC = "Anthropic"
    MODELS = "Models"
    QUEUE = "Queue"
    STORE = "Store"
    ACCESS = "Access"
    REGISTRY = "Registry"
    HEALTH = "Health"
    DOCUMENTS = "Documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One of the query or the headers. Those of the path follow from the route."""

    name: str
    about: str
    place: str = "query"
    """query | header"""
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The answer in pieces."""

    media_type: str
    item: Any
    """The type of one event or line: as `Operation.answer`."""
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route. Types are pydantic models, dataclasses, or msgspec's structs and unions of
    them: the same that check bodies, and those that answers are tested against.
    """

    summary: str
    """A line."""
    tag: Tag
    about: str = ""
    body: Any = None
    body_media_type: str = "application/json"
    answer: Any = None
    """None: no JSON; `media_type` tells what instead, if anything."""
    media_type: str | None = None
    stream: Stream | None = None
    status: int = 200
    """Of success."""
    parameters: tuple[Parameter, ...] = ()
    path: Mapping[str, str] = field(default_factory=dict)
    """Name of a variable part of the route → what it is."""
    errors: tuple[int, ...] = ()
    """Statuses beside those that follow from the body and the scopes."""
    asks_model: bool = False
    """It waits in the queue: has its headers, and the errors of queue, memory and runner."""
    answers_unwell: Any = None
    """What a 503 has as its body where that is no error object."""
    is_refused: bool = False
    """Always: it has only errors."""
    example: Mapping[str, Any] | None = None
    """A body that works."""


Operations = Mapping[str, Operation]
"""By method."""

ATTRIBUTE: Final = "OPERATIONS"


def operations_of(resource: object) -> Operations:
    """Those that the resource (or its class) declares."""
    told: Operations = getattr(resource, ATTRIBUTE, {})
    return told
