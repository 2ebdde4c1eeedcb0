"""Where one request's answers arrive: filled by the runner's reader thread, emptied by the thread that asked.

This is the hot path of the daemon (every delta of every stream), and the place where what a runner may say
about one request is bounded: a hostile runner can fill neither the mailbox nor the patience of its reader.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Union

from appliance.errors import OutpostError
from appliance.supervisor.faults import fresh
from appliance.wire.channel import ProtocolError
from appliance.wire.messages import Accepted, Delta, Generate, Progress, Request, Result

Item = Union[Accepted, Delta, Progress, Result, OutpostError]

_BYTES_PER_TOKEN = 256
"""Far above any tokeniser's longest piece on average over a whole answer."""
_SPARE_TOKENS = 1024
_BYTES_PER_ENTRY = 64
"""Charged for each piece of a tool call."""


class Mailbox:
    """The `put_*` half belongs to the reader thread, the `take*` half to the thread that asked."""

    def __init__(self, request: Request, *, n_ctx_seq: int, now_s: float = 0.0) -> None:
        self.id = request.id
        self.opened_at_s = now_s
        self.is_closed = False
        """Set once by the asking thread: what still comes is dropped."""
        self._is_generation = isinstance(request, Generate)
        self._choices = request.n if isinstance(request, Generate) else 0
        self._is_accepted = False
        self._deltas_left = max(1, self._choices) * (n_ctx_seq + _SPARE_TOKENS)
        self._bytes_left = self._deltas_left * _BYTES_PER_TOKEN
        self._progress: Progress | None = None
        self._items: SimpleQueue[Item | None] = SimpleQueue()

    @property
    def is_accepted(self) -> bool:
        """The engine has it: what can be refused has passed. Only generations tell. Any thread."""
        return self._is_accepted

    # ── the reader thread ──────────────────────────────────────────────────────────────────────────────────

    def put_accepted(self, accepted: Accepted) -> None:
        if self._is_accepted or not self._is_generation:
            raise ProtocolError(f"Accepted out of turn for request {self.id}")
        self._is_accepted = True
        self._items.put(accepted)

    def put_delta(self, delta: Delta) -> bool:
        """True when it was the last of its request."""
        if not self._is_accepted or not 0 <= delta.choice < self._choices:
            raise ProtocolError(f"a delta out of turn for request {self.id}")
        self._deltas_left -= 1
        self._bytes_left -= len(delta.text) + len(delta.reasoning)
        if delta.tool_calls or delta.logprobs:
            self._bytes_left -= _weight(delta)
        if self._deltas_left < 0 or self._bytes_left < 0:
            raise ProtocolError(f"more deltas than the context can hold for request {self.id}")
        if not self.is_closed:
            self._items.put(delta)
        return delta.usage is not None

    def put_progress(self, progress: Progress) -> None:
        """Only the newest is kept, so that a reader who does not come costs nothing."""
        if not self._is_accepted:
            raise ProtocolError(f"progress out of turn for request {self.id}")
        is_told = self._progress is not None
        self._progress = progress
        if not is_told:
            self._items.put(None)

    def put_result(self, result: Result) -> None:
        if self._is_generation:
            raise ProtocolError(f"a Result for the generation {self.id}")
        self._items.put(result)

    def put_error(self, error: OutpostError) -> None:
        """From any thread: the request has ended with it."""
        self._items.put(error)

    # ── the thread that asked ──────────────────────────────────────────────────────────────────────────────

    def take(self, timeout_s: float) -> Item | None:
        """The next item, raising it when it is an error; None when nothing came in time."""
        try:
            item = self._items.get(timeout=max(0.0, timeout_s))
        except Empty:
            return None
        return self._read(item)

    def take_all(self, timeout_s: float) -> list[Item]:
        """All that is here, waiting up to `timeout_s` for the first. An error is the last item, not
        raised.
        """
        items = self._items
        found: list[Item] = []
        try:
            first = items.get(timeout=timeout_s)
        except Empty:
            return found
        self._collect(first, found)
        for _ in range(items.qsize()):
            self._collect(items.get_nowait(), found)
        return found

    def _collect(self, item: Item | None, found: list[Item]) -> None:
        if item is not None:
            found.append(item)
            return
        progress, self._progress = self._progress, None
        if progress is not None:
            found.append(progress)

    def _read(self, item: Item | None) -> Item | None:
        if isinstance(item, OutpostError):
            raise fresh(item)
        if item is None:
            item, self._progress = self._progress, None
        return item


def _weight(delta: Delta) -> int:
    """Bytes to charge for what few deltas carry."""
    calls = sum(len(call.arguments) + len(call.name or "") + _BYTES_PER_ENTRY for call in delta.tool_calls)
    chosen = sum(len(entry.piece) + len(entry.top) for entry in delta.logprobs)
    return calls + chosen + sum(len(other.piece) for entry in delta.logprobs for other in entry.top)
