"""What operations of the document have in common: chapters, headers, security schemes."""

from __future__ import annotations

from typing import Any, Final

from appliance.api import turns
from appliance.api.openapi.operation import Parameter, Tag
from appliance.supervisor.turn import Priority

EVENTS: Final = "text/event-stream"
"""Has comments, in which there is room for what is no part of an answer."""

TAGS: Final = {
    Tag.OPENAI: "As OpenAI's API, with what llama-server adds to it.",
    Tag.OLLAMA: "As Ollama's API.",
    Tag.ANTHROPIC: "As Anthropic's API.",
    Tag.MODELS: "What is in memory.",
    Tag.QUEUE: "Who waits for a model.",
    Tag.STORE: "The models that are stored on this device.",
    Tag.ACCESS: "Keys, and what they have used.",
    Tag.REGISTRY: "The store as a read-only OCI registry.",
    Tag.HEALTH: "Whether it is well, for programs that watch it.",
    Tag.DOCUMENTS: "This document.",
}

PARAMETERS: Final = {
    "Priority": Parameter(
        name=turns.PRIORITY,
        place="header",
        schema={"type": "string", "enum": [priority.value for priority in Priority]},
        about="Whether somebody waits for the answer; without it, realtime.",
    ),
    "Deadline": Parameter(
        name=turns.DEADLINE,
        place="header",
        schema={"type": "number", "minimum": turns.LEAST_DEADLINE_S},
        about="Seconds from now after which nobody wants the answer.",
    ),
    "RequestId": Parameter(
        name="X-Request-Id",
        place="header",
        schema={"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
        about="An id of the caller's; another text is replaced.",
    ),
    "Progress": Parameter(
        name=turns.PROGRESS,
        place="header",
        schema={"type": "string", "enum": ["0", "1"]},
        about="1: begin the stream at once, and say in comments how the request stands in the queue.",
    ),
}

TURN_PARAMETERS: Final = ("Priority", "Deadline", "RequestId", "Progress")
"""Of requests to a model; the last only where there is a stream."""


def _header(about: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": about, "schema": schema or {"type": "string"}}


HEADERS: Final = {
    "X-Request-Id": _header("The request's id, which the log has too."),
    "X-Outpost-Warning": _header("What was accepted and not honoured."),
    "X-Outpost-Placement": _header("How the model is placed: on a GPU, a CPU, or both."),
    "X-Outpost-Queue-Position": _header("Where it stood in line when it came.", {"type": "integer"}),
    "X-Outpost-Queue-S": _header("How long it waited in line.", {"type": "number"}),
    "Retry-After": _header("Seconds after which to try again.", {"type": "integer"}),
}
MODEL_HEADERS: Final = (
    "X-Outpost-Warning",
    "X-Outpost-Placement",
    "X-Outpost-Queue-Position",
    "X-Outpost-Queue-S",
)

SECURITY_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, as `Authorization: Bearer ek_…`. Without keys none is needed.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The same key in the header of Anthropic's clients.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "For registry clients: any user name, the key as the password.",
    },
}
