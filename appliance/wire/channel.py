"""Length-prefixed msgpack frames over one stream socket: 4-byte little-endian length, then the message.

A stream with lengths, not datagrams: a datagram's size bound would force large prompts through a side
channel.
Both ends use this class: one thread receives, and any thread may send (a lock keeps frames whole).

The deadlines are the kernel's (SO_RCVTIMEO, SO_SNDTIMEO) and not Python's: a Python time-out puts a `poll`
in front of every `recv`, which is half of the cost of a small frame.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Generic, TypeVar

import msgspec

from appliance.wire.messages import MAX_FRAME_BYTES, DaemonMessage, RunnerMessage

_HEADER = struct.Struct("<I")
_TIMEVAL = struct.Struct("@ll")
_RECEIVE_BYTES = 256 * 1024

Incoming = TypeVar("Incoming")


class ProtocolError(Exception):
    """The peer sent something that is no frame of ours. The channel is unusable afterwards."""


class Channel(Generic[Incoming]):
    """One end. `receive` belongs to one reader thread; `send` may be called from any thread.

    Blocking: `receive` until a frame, EOF or its deadline; `send` until the kernel took the
    bytes or its deadline passed.
    """

    def __init__(self, sock: socket.socket, incoming: type[Incoming]) -> None:
        self._socket = sock
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._send_lock = threading.Lock()
        self._buffer = bytearray()
        self._receive_timeout_s: float | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_receive_timeout(self, timeout_s: float) -> None:
        """From now on `receive` raises TimeoutError when no whole frame came within `timeout_s`."""
        self._receive_timeout_s = timeout_s
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout_s))

    def set_send_timeout(self, timeout_s: float) -> None:
        """From now on `send` raises TimeoutError when the peer took nothing for `timeout_s`; the channel is
        then unusable.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout_s))

    def send(self, message: msgspec.Struct) -> None:
        """Send one frame. Raises OSError when the peer is gone, TimeoutError when it does not read,
        ValueError past `MAX_FRAME_BYTES`.
        """
        body = self._encoder.encode(message)
        if len(body) > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
        frame = _HEADER.pack(len(body)) + body
        with self._send_lock:
            try:
                self._socket.sendall(frame)
            except BlockingIOError as error:
                raise TimeoutError("the peer does not read") from error

    def receive(self) -> Incoming | None:
        """The next message, or None at EOF. Raises ProtocolError on bytes that are no frame, TimeoutError
        past the deadline.
        """
        message = self._next_buffered()
        if message is not None:
            return message
        started = time.monotonic()
        while message is None:
            chunk = self._receive_chunk()
            if not chunk:
                return None
            self._buffer += chunk
            message = self._next_buffered()
            if message is None and self._is_late(started):
                # A peer that trickles single bytes would hold off the kernel's deadline for ever.
                raise TimeoutError("no whole frame within the deadline")
        return message

    def close(self) -> None:
        """Shut both directions down, which wakes a blocked reader at either end, and close."""
        self.shut()
        self._socket.close()

    def shut(self) -> None:
        """Shut both directions down from any thread: a blocked reader or sender wakes at either end.
        Idempotent.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _receive_chunk(self) -> bytes:
        """Some bytes; none at EOF."""
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError as error:
            raise TimeoutError("nothing was received within the deadline") from error
        except ConnectionResetError:
            return b""

    def _is_late(self, started: float) -> bool:
        return self._receive_timeout_s is not None and time.monotonic() - started > self._receive_timeout_s

    def _next_buffered(self) -> Incoming | None:
        if len(self._buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._buffer)
        if length > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {length} bytes is announced, the limit is {MAX_FRAME_BYTES}")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        try:
            message = self._decoder.decode(memoryview(self._buffer)[_HEADER.size : end])
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise ProtocolError(f"no message of ours: {error}") from error
        del self._buffer[:end]
        return message


def _timeval(seconds: float) -> bytes:
    """A `struct timeval`; at least one microsecond, since zero means for ever."""
    micros = max(1, round(seconds * 1_000_000))
    return _TIMEVAL.pack(*divmod(micros, 1_000_000))


def daemon_end(sock: socket.socket) -> Channel[RunnerMessage]:
    return Channel(sock, RunnerMessage)  # type: ignore[arg-type]  # a Union is what msgspec decodes


def runner_end(sock: socket.socket) -> Channel[DaemonMessage]:
    return Channel(sock, DaemonMessage)  # type: ignore[arg-type]
