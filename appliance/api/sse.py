r"""A generation as server-sent events. The last part of flow 1: mailbox → SSE bytes → waitress.

    : queue position=3 eta_s=12      a comment while it waits, for who asked for that (`awaited.py`)
    data: {…}\\n\\n                    a chunk, written by the endpoint's `ChunkWriter`
    : prefill 512/8192 6% eta_s=41   a comment while the prompt is computed, at least every 2 s
    : ping                           a comment after `heartbeat_s` of silence
    data: {"error":{…}}              a fault in mid-stream, from the one table; then it ends without [DONE]
    data: [DONE]

Falcon's error handlers and log do not reach a body that is being iterated, so this is a top of its own: it
answers every error, gives the lease back, and ends the exchange, whatever happens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import falcon
import msgspec

from appliance import log
from appliance.api.awaited import Awaited
from appliance.api.error_responses import error_object, row_of
from appliance.api.exchange import Exchange
from appliance.errors import ClientGone, DeadlineExceeded, EngineFault, OutpostError
from appliance.supervisor.inference import Generation
from appliance.supervisor.turn import Standing
from appliance.wire.messages import Delta, FinishReason, Progress

_log = log.logger("api")

POLL_S: Final = 0.25
"""How soon a closed connection is noticed while nothing is written: a step of the engine."""
FLOWING_POLL_S: Final = 1.0
"""The same once tokens flow: the next one finds the connection closed anyway, and at three steps a second on
fifty streams every look in vain would cost as much as a token.
"""
PREFILL_NOTE_S: Final = 2.0
PING: Final = b": ping\n\n"
DONE: Final = b"data: [DONE]\n\n"


class ChunkWriter(Protocol):
    """Turns what the engine says into the events of one endpoint. Used by one thread."""

    def opening(self) -> bytes:
        """Before the first token; may be empty."""

    def chunk(self, delta: Delta) -> bytes: ...

    def closing(self) -> bytes:
        """After the last delta, before [DONE]; may be empty."""


class EventStream:
    """The body of one streamed answer. Owned by the waitress thread that iterates and closes it."""

    done: bytes = DONE
    """What ends a stream without a fault."""

    def __init__(
        self,
        generation: Generation,
        writer: ChunkWriter,
        exchange: Exchange,
        *,
        heartbeat_s: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generation = generation
        self._writer = writer
        self._exchange = exchange
        self._heartbeat_s = heartbeat_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._progress: Progress | None = None
        self._prefill_from: tuple[float, int] | None = None
        """When that was first told, and how far it was."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            if isinstance(self._generation, Awaited):
                yield from self._waiting(self._generation)
            # waitress sends the header with the first bytes, so there must be some.
            yield self._writer.opening() or PING
            yield from self._events()
            yield self._writer.closing() + self.done
        except OutpostError as error:
            yield self.error_event(error)
        except _Gone:
            return
        except Exception as error:  # noqa: BLE001 - nobody above would answer it
            _log.error("stream_failed", request_id=self._exchange.request_id, exc_info=error)
            yield self.error_event(error)

    def close(self) -> None:
        """Called by waitress in every case, also when the client vanished before the first byte."""
        self.let_go()
        self._exchange.end()

    def let_go(self) -> None:
        """Give the lease back, and leave the exchange open."""
        self._generation.close()

    @property
    def exchange(self) -> Exchange:
        return self._exchange

    def is_unwanted(self) -> bool:
        """Nobody wants it any more, or it takes too long."""
        return self._exchange.gone() or self._exchange.age_s() > self._timeout_s

    def error_event(self, error: Exception) -> bytes:
        """The event that ends it because of `error`."""
        return self._error_event(self._exchange.told(error))

    def _waiting(self, generation: Awaited) -> Iterator[bytes]:
        """Comments until it is accepted, the first at once, so that the header goes out."""
        with self._exchange.waiting():
            written_s = -math.inf
            while not generation.is_accepted:
                if self._clock() - written_s >= min(self._heartbeat_s, PREFILL_NOTE_S):
                    written_s = self._clock()
                    yield _queue_comment(generation.standing())
                generation.look(min(POLL_S, self._heartbeat_s))
                self._ask_whether_over()

    def _ask_whether_over(self) -> None:
        if self._exchange.gone():
            raise _Gone if self._exchange.cancelled is None else ClientGone
        if self._exchange.age_s() > self._timeout_s:
            raise DeadlineExceeded(limit_s=self._timeout_s)

    def _events(self) -> Iterator[bytes]:
        """All events between opening and closing; returns after the last delta."""
        clock, writer, generation = self._clock, self._writer, self._generation
        written_s, poll_s = clock(), POLL_S
        while True:
            items = generation.next(min(poll_s, self._heartbeat_s))
            self._ask_whether_over()
            event, is_last = self._encode(items, writer) if items else (b"", False)
            if event:
                written_s, poll_s = clock(), FLOWING_POLL_S
                yield event
            if is_last:
                return
            if clock() - written_s >= self._silence_s():
                written_s = clock()
                yield self._comment()

    def _encode(self, items: list[Delta | Progress], writer: ChunkWriter) -> tuple[bytes, bool]:
        """One write for all that came in one step."""
        parts = []
        is_last = False
        for item in items:
            if isinstance(item, Progress):
                self._progress = item
                if self._prefill_from is None:
                    self._prefill_from = (self._clock(), item.done_tokens)
                continue
            self._progress = None
            self._exchange.mark_token(item.choice, item.tokens)
            parts.append(writer.chunk(checked(item)))
            if item.usage is not None:
                self._exchange.usage = item.usage
                self._exchange.finish_reason = item.finish_reason
                is_last = True
        return (parts[0] if len(parts) == 1 else b"".join(parts)), is_last

    def _silence_s(self) -> float:
        """How long nothing may be said; less until the first token, when people wonder if anything
        happens.
        """
        if self._exchange.first_token_s is None:
            return min(self._heartbeat_s, PREFILL_NOTE_S)
        return self._heartbeat_s

    def _comment(self) -> bytes:
        progress = self._progress
        if progress is None or progress.total_tokens <= 0:
            return PING
        percent = 100 * progress.done_tokens // progress.total_tokens
        eta_s = self._prefill_eta_s(progress)
        eta = "" if eta_s is None else f" eta_s={eta_s:.0f}"
        return f": prefill {progress.done_tokens}/{progress.total_tokens} {percent}%{eta}\n\n".encode()

    def _prefill_eta_s(self, progress: Progress) -> float | None:
        """By the rate since the first news; cached tokens came for nothing and stand in no rate."""
        if self._prefill_from is None:
            return None
        now_s, (from_s, from_tokens) = self._clock(), self._prefill_from
        done = progress.done_tokens - from_tokens
        if done <= 0 or now_s <= from_s:
            return None
        return (progress.total_tokens - progress.done_tokens) * (now_s - from_s) / done

    def _error_event(self, error: Exception) -> bytes:
        self._exchange.error_code = row_of(error).code
        return b"data: " + msgspec.json.encode(error_object(error)) + b"\n\n"


def _queue_comment(standing: Standing | None) -> bytes:
    if standing is None:
        return b": queue\n\n"
    eta = "" if standing.eta_s is None else f" eta_s={standing.eta_s:.0f}"
    return f": queue position={standing.position}{eta}\n\n".encode()


class _Gone(Exception):
    """The client closed the connection: stop without a word."""


def answer(resp: falcon.Response, stream: EventStream) -> None:
    """Make `stream` the answer; kept beyond the connection, where that is wished."""
    head(resp)
    keep = stream.exchange.keep
    resp.stream = stream if keep is None else keep(stream)


def head(resp: falcon.Response) -> None:
    """No proxy may hold back, store or compress it."""
    resp.content_type = "text/event-stream; charset=utf-8"
    resp.set_header("Cache-Control", "no-cache")
    resp.set_header("X-Accel-Buffering", "no")


def checked(delta: Delta) -> Delta:
    """`delta`, unless it says "cancelled": nobody cancelled whom we still answer, so that is a fault."""
    if delta.finish_reason is FinishReason.CANCELLED:
        raise EngineFault(reason="the generation was cancelled")
    return delta
