"""The one door to the journal: structured events as JSON lines on stderr, or in console form on a terminal.

On stderr, because stdout is for what a program was asked to say (`outpost serve`: its address). An event is
a fixed snake_case name plus keys with units; context (`request_id`, `model`, `runner`) is bound once per
thread. Prompts and outputs are never logged. Messages of libraries that use `logging` come through the same
door.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

Logger = FilteringBoundLogger

REQUEST: Final = "request"
"""The event that tells of one request, when it is over."""
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(
    *,
    level: str = "info",
    form: str = "auto",
    stream: TextIO | None = None,
    requests: RequestFile | None = None,
) -> None:
    """Set up the door, once, at process start, before threads exist, with the values of `[log]`. `requests`:
    where the one line of each request goes, too.
    """
    out = _Sink(stream if stream is not None else sys.stderr)
    console = form == "console" or (form == "auto" and out.is_terminal)
    structlog.configure(
        processors=_processors(console=console, requests=requests),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", out)),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    # Libraries speak of their own workings; only their complaints are our story.
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.captureWarnings(capture=True)


def logger(name: str) -> Logger:
    """The logger of one part (`supervisor`, `api` …), which becomes the key `part`."""
    return cast("Logger", structlog.get_logger(part=name))


def bind(**context: object) -> None:
    """Add to the context of this thread: every later event of it carries these keys."""
    structlog.contextvars.bind_contextvars(**context)


def clear() -> None:
    """Forget this thread's context. A pooled thread does it before each piece of work."""
    structlog.contextvars.clear_contextvars()


@contextmanager
def bound(**context: object) -> Iterator[None]:
    """Add to the context of this thread within a `with` block."""
    with structlog.contextvars.bound_contextvars(**context):
        yield


def _processors(*, console: bool, requests: RequestFile | None) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not console),
        *([requests] if requests else []),
    ]
    if console:
        return [
            *shared,
            structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback),
        ]
    return [
        *shared,
        structlog.processors.format_exc_info,
        # ensure_ascii: a lone surrogate or a terminal escape in a value can not break a line.
        structlog.processors.JSONRenderer(ensure_ascii=True, default=str),
    ]


class RequestFile:
    """The lines of requests in a file, and in the one before it: together never more than `max_bytes`. What
    the disk does not take is lost, as in `_Sink`. Any thread.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._half_bytes = max_bytes // 2
        self._lock = threading.Lock()

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """As a processor, which hands on what it gets."""
        if event.get("event") == REQUEST:
            line = json.dumps(event, ensure_ascii=True, default=str).encode() + b"\n"
            with self._lock, suppress(OSError):
                self._append(line)
        return event

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(line) > self._half_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                os.close(descriptor)
                descriptor = os.open(self._path, flags, 0o600)
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class _Sink:
    """A stream that may be gone: closed, a pipe without a reader, a full disk. What cannot be told is lost;
    it must never end the thread that wanted to tell it. Any thread (structlog holds its lock around a line).
    """

    def __init__(self, stream: TextIO | None) -> None:
        """None: the process was started without it."""
        self._stream = stream

    @property
    def is_terminal(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


class _Bridge(logging.Handler):
    """Hands records of the standard library's `logging` to structlog. Any thread."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"part": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, "library_message", **fields)
