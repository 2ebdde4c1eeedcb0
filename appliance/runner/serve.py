"""The runner's loop: the engine on the main thread, a reader and preparers beside it.

    reader    frames in; cancels and limits go straight to the inbox, requests to the preparers
    preparers `engine.prepare` (`preparers.py`): template, tokenising, grammar. May take seconds for a hostile
              request, which must delay neither running streams nor anyone's cancel
    main      inbox, `engine.step`, one frame per thing said, heartbeat. Blocks in the inbox when there is
    no work

The main thread sends by itself and blocks when the daemon does not read: that back pressure is what bounds
our memory.
Inbound, `_CAPACITY` requests at most are between frame and engine; then the reader stops reading.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Union

from appliance.engine.interface import EngineCore, Prepared, Said
from appliance.runner.pacing import Pacing
from appliance.runner.preparers import Preparers, Requests
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import (
    Cancel,
    DaemonMessage,
    Heartbeat,
    Load,
    SetLimits,
)

_CAPACITY = 1024
_PATIENCE = 3.0
"""A step that cannot be divided may take this much longer than expected: attention grows with the square."""
_EXIT_GRACE_S = 0.5
"""From EOF to the end at the latest, whatever the main thread is doing; the daemon expects less than 1 s."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A request has come and is being prepared."""

    id: int


@dataclass(frozen=True, slots=True)
class _Checked:
    """It is prepared; `prepared` None: it has its answer already."""

    id: int
    prepared: Prepared | None


@dataclass(frozen=True, slots=True)
class _Eof:
    """The daemon is gone or wants no more."""


_Note = Union[_Arrived, _Checked, _Eof, Cancel, SetLimits]


class Listener:
    """The reader thread: frames to notes. Made before the engine, so that EOF ends a load, too.

    Its queues are shared; all else belongs to the thread `reader`.
    """

    def __init__(
        self, channel: Channel[DaemonMessage], *, exit_now: Callable[[int], None] = os._exit
    ) -> None:
        self.inbox: SimpleQueue[_Note] = SimpleQueue()
        self.requests = Requests()
        self.room = threading.Semaphore(_CAPACITY)
        self.is_finished = threading.Event()
        """Set by the main thread when it has left its loop."""
        self._channel = channel
        self._exit_now = exit_now
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            while (message := self._channel.receive()) is not None:
                self._take(message)
        except (OSError, ProtocolError):
            pass  # the daemon is of no use any more: the same as EOF
        except Exception:  # noqa: BLE001  # thread top: without a reader, this process must not stay
            traceback.print_exc()
        self.inbox.put(_Eof())
        self.requests.close()
        if not self.is_finished.wait(_EXIT_GRACE_S):
            self._exit_now(0)

    def _take(self, message: DaemonMessage) -> None:
        if isinstance(message, (Cancel, SetLimits)):
            self.inbox.put(message)
        elif isinstance(message, Load):
            raise ProtocolError("Load twice")
        else:
            self.room.acquire()
            self.inbox.put(_Arrived(message.id))
            self.requests.put(message)


class Loop:
    """The main thread's loop. Owned by the main thread."""

    def __init__(
        self, *, engine: EngineCore, channel: Channel[DaemonMessage], listener: Listener, heartbeat_s: float
    ) -> None:
        self._engine = engine
        self._channel = channel
        self._inbox = listener.inbox
        self._listener = listener
        self._heartbeat_s = heartbeat_s
        self._beat_at_s = 0.0
        self._in_preparation: set[int] = set()
        self._cancelled_early: set[int] = set()
        self._is_over = False
        self._pacing = Pacing()
        self._preparers = Preparers(
            engine, channel, lambda id_, prepared: listener.inbox.put(_Checked(id_, prepared))
        )

    def run(self) -> None:
        """Until EOF. Raises what `engine.step` raises (a fault of the whole engine), and OSError when the
        daemon is gone.
        """
        self._preparers.start(self._listener.requests)
        engine, inbox, send = self._engine, self._inbox, self._channel.send
        try:
            while True:
                # PERF: per step, when nothing else is up: one clock reading and three tests.
                if not inbox.empty() or not engine.has_work():
                    self._take_notes()
                    if self._is_over:
                        return
                if engine.has_work():
                    self._announce(engine.expected_s())
                    began_s = time.monotonic() if self._pacing.is_on else None
                    sayings = engine.step()
                    if began_s is not None:
                        self._pacing.stepped(time.monotonic() - began_s)
                    for said in sayings:
                        send(said)
                    if began_s is not None:
                        self._pause()
                if time.monotonic() >= self._beat_at_s:
                    self._beat()
        finally:
            self._listener.is_finished.set()

    # ── main thread ────────────────────────────────────────────────────────────────────────────────────────

    def _take_notes(self) -> None:
        """All that is here; without work, wait for something until the next heartbeat."""
        if self._inbox.empty():
            try:
                self._take(self._inbox.get(timeout=max(0.0, self._beat_at_s - time.monotonic())))
            except Empty:
                self._engine.rest()
                return
        for _ in range(self._inbox.qsize()):
            self._take(self._inbox.get_nowait())

    def _take(self, note: _Note) -> None:
        match note:
            case _Arrived():
                self._in_preparation.add(note.id)
            case _Checked():
                self._admit(note)
            case Cancel():
                if note.id in self._in_preparation:
                    self._cancelled_early.add(note.id)
                    self._preparers.cancel(note.id)
                else:
                    self._say(self._engine.cancel(note.id))
            case SetLimits():
                self._engine.set_limits(note)
                self._pacing.set_limits(note)
            case _Eof():
                self._is_over = True

    def _admit(self, note: _Checked) -> None:
        self._in_preparation.discard(note.id)
        is_cancelled = note.id in self._cancelled_early
        self._cancelled_early.discard(note.id)
        self._listener.room.release()
        if note.prepared is None:
            return
        self._say(self._engine.submit(note.prepared))
        if is_cancelled:
            self._say(self._engine.cancel(note.id))

    def _pause(self) -> None:
        """Sleep as long as the pace wants it; news and heartbeats still come through. A cancel acts at once,
        limits count from their arrival, and the daemon's end ends the pause.
        """
        while not self._is_over and (due_s := self._pacing.due_s()) > 0:
            began_s = time.monotonic()
            if began_s >= self._beat_at_s:
                self._beat()
            try:
                self._take(self._inbox.get(timeout=min(due_s, self._heartbeat_s)))
            except Empty:
                pass
            finally:
                self._pacing.paused(time.monotonic() - began_s)

    def _announce(self, expected_s: float) -> None:
        """Before a step that takes longer than the daemon waits for a heartbeat."""
        if expected_s >= self._heartbeat_s:
            self._beat(quiet_s=_PATIENCE * expected_s)

    def _beat(self, *, quiet_s: float = 0.0) -> None:
        self._channel.send(Heartbeat(stats=self._engine.stats(), quiet_s=quiet_s))
        self._beat_at_s = time.monotonic() + self._heartbeat_s

    def _say(self, messages: Sequence[Said]) -> None:
        for message in messages:
            self._channel.send(message)


def last_words(fault: BaseException) -> None:
    """The traceback to stderr, and one line that says it all: the daemon shows the last line as the cause."""
    traceback.print_exception(fault)
    print(f"{type(fault).__name__}: {fault}", file=sys.stderr, flush=True)  # noqa: T201
