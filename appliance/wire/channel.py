"""Length-prefixed msgpack frames over one stream socket: 4-byte little-endian length, then the message.

A stream with lengths, not datagrams: a datagram's size bound would force large prompts through a side channel.
Both ends use this class: one thread receives, and any thread may send (a lock keeps frames whole).
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Generic, TypeVar

import msgspec

from appliance.wire.messages import MAX_FRAME_BYTES, DaemonMessage, RunnerMessage

_HEADER = struct.Struct("<I")
_RECEIVE_BYTES = 256 * 1024

Incoming = TypeVar("Incoming")


class ProtocolError(Exception):
    """The peer sent something that is no frame of ours. The channel is unusable afterwards."""


class Channel(Generic[Incoming]):
    """One end. `receive` belongs to one reader thread; `send` may be called from any thread.

    Blocking: `receive` until a frame or EOF; `send` until the kernel took the bytes or the socket's time-out passed.
    """

    def __init__(self, sock: socket.socket, incoming: type[Incoming]) -> None:
        self._socket = sock
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._send_lock = threading.Lock()
        self._buffer = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: msgspec.Struct) -> None:
        """Send one frame. Raises OSError when the peer is gone, ValueError past `MAX_FRAME_BYTES`."""
        body = self._encoder.encode(message)
        if len(body) > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
        with self._send_lock:
            self._socket.sendall(_HEADER.pack(len(body)) + body)

    def receive(self) -> Incoming | None:
        """The next message, or None at EOF. Raises ProtocolError on bytes that are no frame."""
        while (message := self._next_buffered()) is None:
            try:
                chunk = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                return None
            if not chunk:
                return None
            self._buffer += chunk
        return message

    def close(self) -> None:
        """Shut both directions down, which wakes a blocked reader at either end, and close."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

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


def daemon_end(sock: socket.socket) -> Channel[RunnerMessage]:
    return Channel(sock, RunnerMessage)  # type: ignore[arg-type]  # a Union is what msgspec decodes


def runner_end(sock: socket.socket) -> Channel[DaemonMessage]:
    return Channel(sock, DaemonMessage)  # type: ignore[arg-type]
