"""A fault of the chat path, told with the names that the body of /v1/responses has. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from appliance.errors import InvalidRequest, OutpostError, Unsupported

_NAMES: Final = (
    (re.compile(r"messages\b.*"), "input"),
    (re.compile(r"response_format(\.json_schema)?\b"), "text.format"),
    (re.compile(r"tools\.(\d+)\.function\b"), r"tools.\1"),
    (re.compile(r"tool_choice\.function\b"), "tool_choice"),
    (re.compile(r"tool_choice\.allowed_tools\.tools\.(\d+)\.function\b"), r"tool_choice.tools.\1"),
    (re.compile(r"max_completion_tokens$|max_tokens$"), "max_output_tokens"),
    (re.compile(r"reasoning_effort$"), "reasoning.effort"),
)
"""Field of a chat body → field of a response body; what is not here has the same name in both."""


def renamed(error: OutpostError) -> OutpostError:
    """`error`, or the same one about the field that the caller wrote."""
    if not isinstance(error, InvalidRequest | Unsupported) or error.param is None:
        return error
    for pattern, name in _NAMES:
        if pattern.match(error.param):
            return type(error)(**{**error.fields, "param": pattern.sub(name, error.param, count=1)})
    return error


@contextmanager
def told_here() -> Iterator[None]:
    """Around what raises in the terms of chat."""
    try:
        yield
    except OutpostError as error:
        told = renamed(error)
        if told is error:
            raise
        raise told from error
