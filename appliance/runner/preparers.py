"""The threads that make requests ready for the engine: template, tokens, grammar. Flow 1 (chat), step 5.

    preparer       requests of ordinary size
    preparer-long  long ones: the tokenizer takes seconds for a megabyte of hostile text, and cannot be
    interrupted

A long request waits for long ones only, and never keeps others waiting. Cancelled ones end at the next part.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Protocol

from appliance.engine.interface import EngineCore, Prepared
from appliance.errors import ClientGone, EngineFault, OutpostError, to_wire
from appliance.wire.messages import (
    ApplyTemplate,
    ChatPrompt,
    Embed,
    Generate,
    Refused,
    Request,
    Rerank,
    Result,
    TextPrompt,
    Tokenize,
    WireError,
)

LONG_CHARS: Final = 64 * 1024
"""The tokenizer takes at most about 0.1 s for less."""


class Sink(Protocol):
    """Where answers go. Any thread; raises OSError when nobody reads, ValueError for what fits no frame."""

    def send(self, message: Any) -> None: ...


class Preparers:
    """`put` belongs to the reader thread, `cancel` to the main thread."""

    def __init__(
        self, engine: EngineCore, sink: Sink, on_checked: Callable[[int, Prepared | None], None]
    ) -> None:
        """`on_checked`: called once for each request by the thread that prepared it; None: it has its answer
        already.
        """
        self._engine = engine
        self._sink = sink
        self._on_checked = on_checked
        self._cancelled: set[int] = set()
        """Shared: single operations on a set are atomic, and a missed one costs a preparation only."""

    def start(self, requests: Requests) -> None:
        """Threads that end with their queue's None."""
        for name, queue in (("preparer", requests.short), ("preparer-long", requests.long)):
            threading.Thread(target=self._run, args=(queue,), name=name, daemon=True).start()

    def cancel(self, request_id: int) -> None:
        """Nobody waits for this one any more."""
        self._cancelled.add(request_id)

    def _run(self, queue: SimpleQueue[Request | None]) -> None:
        while (request := queue.get()) is not None:
            prepared: Prepared | None = None
            try:
                prepared = self._prepare(request)
            except OSError:
                pass  # the daemon is gone; the reader sees it, too
            finally:
                self._cancelled.discard(request.id)
                self._on_checked(request.id, prepared)

    def _prepare(self, request: Request) -> Prepared | None:
        """None when it has its answer already. Raises OSError when the daemon is gone, and then only."""
        try:
            if not self._is_wanted(request.id):
                raise ClientGone  # noqa: TRY301  # the last word on a request, whoever ends it
            prepared = self._engine.prepare(request, partial(self._is_wanted, request.id))
        except OutpostError as error:
            self._refuse(request.id, error)
        except Exception as fault:  # noqa: BLE001  # top of one request: its bug must not take others down
            traceback.print_exc()
            self._refuse(request.id, EngineFault(reason=f"{type(fault).__name__}: {fault}"))
        else:
            if not isinstance(prepared, Result):
                return prepared
            self._answer(prepared)
        return None

    def _is_wanted(self, request_id: int) -> bool:
        return request_id not in self._cancelled

    def _answer(self, result: Result) -> None:
        try:
            self._sink.send(result)
        except ValueError as error:  # larger than a frame
            self._refuse(result.id, EngineFault(reason=str(error)))

    def _refuse(self, request_id: int, error: OutpostError) -> None:
        name, fields = to_wire(error)
        self._sink.send(Refused(id=request_id, error=WireError(name=name, fields=fields)))


class Requests:
    """Requests on their way from the reader to the preparers."""

    def __init__(self) -> None:
        self.short: SimpleQueue[Request | None] = SimpleQueue()
        self.long: SimpleQueue[Request | None] = SimpleQueue()

    def put(self, request: Request) -> None:
        (self.long if text_chars(request) > LONG_CHARS else self.short).put(request)

    def close(self) -> None:
        for queue in (self.short, self.long):
            queue.put(None)


def text_chars(request: Request) -> int:
    """How much text is to be tokenised."""
    match request:
        case Generate(prompt=ChatPrompt() as prompt) | ApplyTemplate(prompt=prompt):
            return sum(len(str(message.get("content") or "")) for message in prompt.messages)
        case Generate(prompt=TextPrompt() as text):
            return len(text.text) + len(text.suffix or "") + sum(len(file.text) for file in text.files)
        case Embed():
            return sum(len(entry) for entry in request.inputs)
        case Rerank():
            return sum(len(request.query) + len(document) for document in request.documents)
        case Tokenize():
            return len(request.text)
        case _:
            return 0
