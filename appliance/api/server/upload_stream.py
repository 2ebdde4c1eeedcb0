"""Bodies too large to be held: handed to the app while they come in.

waitress calls an app when the whole body is there, in memory or in a file below /tmp. For the routes of
`is_upload` it is called with the header, so that who asks is judged before anything of his is kept, and the
body passes through a pipe of bounded size:

    socket ─► loop thread ─► decoder (length or chunks) ─► BodyPipe ─► worker thread: req.stream.read
                 └ does not read while the pipe is full

An app that answers without reading lets go of the pipe: what still comes is thrown away, up to a bound.
`channel.py` mixes `UploadParser` and `UploadChannel` into waitress's own, whose attributes they name.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from appliance.errors import ClientGone, InvalidRequest

PREFIX: Final = "/api/blobs/"
MAX_HELD_BYTES: Final = 1 << 20
MAX_DISCARDED_BYTES: Final = 16 << 20
"""After so much that nobody wants, the connection is closed."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_LARGE: Final = 413


def is_upload(method: str, path: str) -> bool:
    return method == "POST" and path.startswith(PREFIX)


class BodyPipe:
    """Also the buffer that waitress's decoders append to. `append`, `end` and `break_off` belong to the loop
    thread, `read` to the worker's; `close` to whoever ends the request.
    """

    def __init__(
        self,
        *,
        stall_s: float,
        on_first_read: Callable[[], None],
        on_room: Callable[[], None],
        on_unread: Callable[[], None],
    ) -> None:
        """`on_first_read`: the app wants the body (100 Continue). `on_room`: there is room to read again.
        `on_unread`: the request is over, and nobody had wanted the body.
        """
        self._stall_s = stall_s
        self._on_first_read: Callable[[], None] | None = on_first_read
        self._on_room = on_room
        self._on_unread = on_unread
        self._changed = threading.Condition()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._discarded_bytes = 0
        self._is_whole = False
        self._is_broken = False
        self._is_closed = False

    def __len__(self) -> int:
        return self._held_bytes

    @property
    def is_full(self) -> bool:
        return self._held_bytes >= MAX_HELD_BYTES

    @property
    def is_flooded(self) -> bool:
        """Nobody wants what comes, and it does not end."""
        return self._discarded_bytes > MAX_DISCARDED_BYTES

    def append(self, content: bytes) -> None:
        with self._changed:
            if self._is_closed:
                self._discarded_bytes += len(content)
                return
            self._held.append(content)
            self._held_bytes += len(content)
            self._changed.notify_all()

    def end(self) -> None:
        """The body has come whole."""
        with self._changed:
            self._is_whole = True
            self._changed.notify_all()

    def break_off(self) -> None:
        """The rest will not come."""
        with self._changed:
            self._is_broken = True
            self._changed.notify_all()

    def getfile(self) -> BodyPipe:
        """What the app reads from, in waitress's words."""
        return self

    def close(self) -> None:
        """Nobody reads any more. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._held.clear()
            self._held_bytes = 0
        if self._on_first_read is not None:
            self._on_unread()
        self._on_room()

    def read(self, size: int = -1) -> bytes:
        """What is there, `size` bytes at most, waiting for some; empty at the end. Raises ClientGone, and
        InvalidRequest when nothing comes for `stall_s`.
        """
        begin, self._on_first_read = self._on_first_read, None
        if begin is not None:
            begin()
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._held or self._is_whole or self._is_broken, self._stall_s
            ):
                raise InvalidRequest(reason=f"nothing of the body came for {self._stall_s:g} s")
            if not self._held and not self._is_whole:
                raise ClientGone
            was_full = self.is_full
            taken = self._take(size)
        if was_full and not self.is_full:
            self._on_room()
        return taken

    def _take(self, size: int) -> bytes:
        """The lock is held."""
        parts: list[bytes] = []
        left = self._held_bytes if size < 0 else size
        while self._held and left > 0:
            part = self._held.popleft()
            if len(part) > left:
                self._held.appendleft(part[left:])
                part = part[:left]
            parts.append(part)
            left -= len(part)
            self._held_bytes -= len(part)
        return b"".join(parts)


class UploadParser:
    """Over waitress's parser: gives the body of an upload away as it comes. Owned by the loop thread."""

    begin_upload: Callable[[UploadParser], BodyPipe] | None = None
    """Of the channel whose request this is."""
    headers_finished: bool
    completed: bool
    expect_continue: bool
    error: Any
    body_rcv: Any
    """waitress's decoder; its buffer is the pipe."""
    command: str
    path: str

    def received(self, data: bytes) -> int:
        was_in_header = not self.headers_finished
        consumed = int(super().received(data))  # type: ignore[misc]
        if was_in_header and self._is_upload:
            return consumed + self._begin(data[consumed:])
        return consumed

    def take_body(self, data: bytes) -> int:
        """How many of these bytes were the body's."""
        decoder, consumed = self.body_rcv, 0
        while consumed < len(data) and not (decoder.completed or decoder.error):
            consumed += decoder.received(data[consumed:])
        if decoder.error:
            decoder.buf.break_off()
        elif decoder.completed:
            decoder.buf.end()
        return consumed

    @property
    def _is_upload(self) -> bool:
        """Its header is whole, nothing is wrong with it but its size, and a body follows."""
        is_sound = self.error is None or self.error.code == _TOO_LARGE
        has_body = self.headers_finished and self.body_rcv is not None
        return has_body and is_sound and is_upload(self.command, self.path)

    def _begin(self, data: bytes) -> int:
        assert self.begin_upload is not None
        self.error = None
        self.body_rcv.buf = self.begin_upload(self)
        self.expect_continue = False  # the pipe says it, when the app wants the body
        self.completed = True
        return self.take_body(data)


class UploadChannel:
    """Over waitress's channel: one upload at a time goes past the parser. Owned by the loop thread;
    waitress's rules say what a worker may call.
    """

    stall_s: float
    server: Any
    will_close: bool
    close_when_flushed: bool
    write_soon: Callable[[bytes], int]
    _upload: UploadParser | None = None

    def begin_upload(self, request: UploadParser) -> BodyPipe:
        self._upload = request
        is_asked = request.expect_continue

        def begin() -> None:
            if is_asked:
                self.write_soon(_CONTINUE)

        def unread() -> None:
            # Whoever asked for leave and did not get it sends no body, and what he sends next is none.
            if is_asked:
                self.close_when_flushed = True

        return BodyPipe(
            stall_s=self.stall_s,
            on_first_read=begin,
            on_room=self.server.pull_trigger,
            on_unread=unread,
        )

    def readable(self) -> bool:
        if self._upload is not None and self._upload.body_rcv.buf.is_full:
            return False
        return bool(super().readable())  # type: ignore[misc]

    def handle_close(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.body_rcv.buf.break_off()
        super().handle_close()  # type: ignore[misc]

    def received(self, data: bytes) -> bool:
        if self._upload is not None:
            data = data[self._upload.take_body(data) :]
            self._settle()
        if data:
            super().received(data)  # type: ignore[misc]
            self._settle()
        return True

    def _settle(self) -> None:
        """After each piece: whether the body is over, well or not."""
        if self._upload is None:
            return
        decoder = self._upload.body_rcv
        if decoder.error or decoder.buf.is_flooded:
            self.will_close = True
        if decoder.completed or decoder.error:
            self._upload = None
