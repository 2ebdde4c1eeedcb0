"""Server-sent events out of lines (WHATWG HTML, 9.2): the part a chat stream uses. Pure.

data: {"choices": ...}      one event; several data lines join with a newline
: prefill 512/8000          a comment: a sign of life, sometimes with progress
(empty line)                ends the event
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    data: str
    name: str = "message"


@dataclass(frozen=True, slots=True)
class Comment:
    text: str


def events(lines: Iterable[str]) -> Iterator[Event | Comment]:
    """Lines come without their line ends. An event that the end of the stream cut off is dropped, as the
    standard says.
    """
    data: list[str] = []
    name = "message"
    for line in lines:
        if not line:
            if data:
                yield Event("\n".join(data), name)
            data, name = [], "message"
            continue
        if line.startswith(":"):
            yield Comment(line[1:].strip())
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
