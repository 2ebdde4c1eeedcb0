"""The one door to other machines: HTTP(S) through urllib3, with a bound on everything the other side decides.

| the other side could             | here                                                               |
|----------------------------------|--------------------------------------------------------------------|
| lead us elsewhere                | every URL is asked of `outbound`; redirects are ours, at most 5    |
| resolve to this machine          | the peer's address is looked at before a byte is sent              |
| drip its headers or a small body | a deadline over the whole                                          |
| drip a blob                      | less than `floor_bytes` in `stall_s` is a stall                    |
| send headers without end         | `MAX_HEAD_BYTES`, and the standard library's 100 lines             |
| send a body without end          | the caller's limit, plus what chunked framing may cost             |
| send a small body that unpacks   | `Content-Encoding` is refused; nothing is ever unpacked            |

No proxies are taken from the environment, no cookies kept. Safe for several threads.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from appliance.errors import OutboundRefused, RemoteRefused, RemoteUnreachable
from appliance.store.outbound import Origin, Outbound, forbidden_peer

MAX_HEAD_BYTES: Final = 128 * 1024
MAX_REDIRECTS: Final = 5
MAX_REASON_BYTES: Final = 4096
CHUNK_BYTES: Final = 1024 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_FRAMING_BYTES: Final = 1024 * 1024
"""What chunked transfer and the read-ahead may add to a body."""

Body = bytes | Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the other side may take."""

    connect_s: float = 20.0
    head_s: float = 60.0
    """From the request's end to the answer's last header."""
    small_s: float = 60.0
    """For a manifest, token or error as a whole."""
    stall_s: float = 30.0
    floor_bytes: int = 16 * 1024
    """A blob of which less than this comes in `stall_s` is stalled."""
    finish_s: float = 600.0
    """For the answer to an upload's end: the registry hashes the blob first."""


class Answer:
    """Status, headers and body of one exchange; owned by the thread that asked, alive inside its `with`."""

    __slots__ = ("_guard", "_patience", "_response", "headers", "origin", "status", "url")

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        guard: _Guard,
        url: str,
        origin: Origin,
        patience: Patience,
    ) -> None:
        self._response = response
        self._guard = guard
        self._patience = patience
        self.url = url
        self.origin = origin
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_redirect(self) -> bool:
        return self.status in _REDIRECTS and "Location" in self.headers

    @property
    def location(self) -> str:
        return urljoin(self.url, self.headers["Location"])

    def small(self, limit: int) -> bytes:
        """The whole body. Raises RemoteRefused past `limit` bytes, RemoteUnreachable past `small_s`."""
        self._guard.begin_body(limit=limit, deadline_s=self._patience.small_s)
        content = bytearray()
        for chunk in self._read():
            content += chunk
            if len(content) > limit:
                raise RemoteRefused(
                    host=str(self.origin), status=self.status, reason=f"a body of more than {limit} bytes"
                )
        return bytes(content)

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body as it comes, of any length up to `limit` bytes; not one more is yielded."""
        self._guard.begin_body(limit=limit, deadline_s=None)
        left = limit
        for chunk in self._read():
            yield chunk[:left] if len(chunk) > left else chunk
            left -= len(chunk)
            if left <= 0:
                return

    def reason(self) -> str:
        """What an error's body says, for a person: cut, printable, one line."""
        try:
            text = self.small(MAX_REASON_BYTES).decode("utf-8", "replace")
        except (RemoteRefused, RemoteUnreachable):
            text = ""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line[:300] or self._response.reason or "no reason given"

    def refused(self) -> RemoteRefused:
        return RemoteRefused(host=str(self.origin), status=self.status, reason=self.reason())

    def _read(self) -> Iterator[bytes]:
        with _told(self.origin):
            while chunk := self._response.read1(CHUNK_BYTES, decode_content=False):
                yield chunk


class Door:
    """Makes exchanges. Owns the pooled connections; `close` drops them."""

    def __init__(
        self, outbound: Outbound, *, patience: Patience | None = None, agent: str = "outpost"
    ) -> None:
        self.outbound = outbound
        self._patience = patience or Patience()
        self._agent = agent
        self._pools = urllib3.PoolManager(num_pools=16, maxsize=8, retries=False)
        self._pools.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def close(self) -> None:
        """Now, not when the garbage collector comes to it: an error that is kept would keep connections."""
        keys = self._pools.pools.keys()
        for key in keys:
            if (pool := self._pools.pools.get(key)) is not None:
                pool.close()
        self._pools.clear()

    @contextmanager
    def follow(self, url: str, *, headers: Mapping[str, str], secret: str | None = None) -> Iterator[Answer]:
        """GET, through redirects; `secret` goes to the first host only. OutboundRefused, RemoteError."""
        first = origin = self.outbound.check(url)
        for hops in count():
            own = {"Authorization": secret} if secret and origin == first else {}
            with self._exchange("GET", url, origin, {**headers, **own}) as answer:
                if not answer.is_redirect:
                    yield answer
                    return
                if hops == MAX_REDIRECTS:
                    raise RemoteRefused(host=str(first), status=answer.status, reason="endless redirects")
                url = answer.location
            origin = self.outbound.check_redirect(first, url)

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        secret: str | None = None,
        body: Body | None = None,
        first: Origin | None = None,
        head_s: float | None = None,
    ) -> Iterator[Answer]:
        """One exchange; a redirect is an answer like others. `first` is the origin that named this URL, if it
        is not the caller's own; `secret` must be one for the URL's host.
        """
        origin = self.outbound.check_redirect(first, url) if first else self.outbound.check(url)
        own = {"Authorization": secret} if secret else {}
        with self._exchange(method, url, origin, {**headers, **own}, body, head_s) as answer:
            yield answer

    @property
    def patience(self) -> Patience:
        return self._patience

    @contextmanager
    def _exchange(
        self,
        method: str,
        url: str,
        origin: Origin,
        headers: Mapping[str, str],
        body: Body | None = None,
        head_s: float | None = None,
    ) -> Iterator[Answer]:
        patience = self._patience
        pool = self._pools.connection_from_host(origin.host, origin.port, origin.scheme)
        with _told(origin):
            response = pool.urlopen(
                method,
                _target(url),
                body=body,
                headers={"User-Agent": self._agent, "Accept-Encoding": "identity", **headers},
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=patience.connect_s, read=head_s or patience.head_s),
                preload_content=False,
                decode_content=False,
            )
        try:
            connection = response.connection
            assert isinstance(connection, (_Plain, _Secure))
            connection.guard.patience = patience
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise RemoteRefused(
                    host=str(origin), status=response.status, reason="a body with Content-Encoding"
                )
            yield Answer(response, connection.guard, url, origin, patience)
        finally:
            _give_back(response)


def _target(url: str) -> str:
    """What stands in the request line: path and query."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _give_back(response: urllib3.BaseHTTPResponse) -> None:
    """A connection whose body was read to its end serves again; any other is closed."""
    if response.closed:
        response.release_conn()
    else:
        response.close()


@contextmanager
def _told(origin: Origin) -> Iterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except _ForbiddenPeerError as error:
        raise OutboundRefused(host=str(error)) from error
    except urllib3.exceptions.TimeoutError as error:
        raise RemoteUnreachable(host=str(origin), reason="it took too long") from error
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        raise RemoteUnreachable(host=str(origin), reason=f"{type(error).__name__}: {error}"[:300]) from error


# ── connections that are looked at ──────────────────────────────────────────────────────────────


class _ForbiddenPeerError(Exception):
    """Raised inside the library, turned into OutboundRefused at the door."""


class _Guard(io.RawIOBase):
    """Stands between socket and parser: counts bytes, keeps deadlines. One per answer."""

    def __init__(self, sock: socket.socket, head_s: float) -> None:
        super().__init__()
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self.patience: Patience = Patience()
        self._left = MAX_HEAD_BYTES
        self._deadline: float | None = time.monotonic() + head_s
        self._waited_s = 0.0
        self._window_bytes = 0

    def begin_body(self, *, limit: int, deadline_s: float | None) -> None:
        """The head is read; from here the body's bounds hold. Without deadline it must keep moving."""
        self._left = limit + limit // 8 + _FRAMING_BYTES
        self._deadline = time.monotonic() + deadline_s if deadline_s is not None else None
        self._waited_s, self._window_bytes = 0.0, 0
        if self._deadline is None:
            self._sock.settimeout(self.patience.stall_s)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        self._check_time(began)
        came: int = self._raw.readinto(buffer)
        self._waited_s += time.monotonic() - began
        self._left -= came
        self._window_bytes += came
        if self._left < 0:
            raise http.client.HTTPException("more bytes than this answer may have")
        return came

    def _check_time(self, now: float) -> None:
        """Only waiting for the other side makes a stall: a slow disk of ours is no fault of theirs."""
        if self._deadline is not None:
            if now >= self._deadline:
                raise TimeoutError("the deadline of this answer has passed")
            self._sock.settimeout(self._deadline - now)
        elif self._waited_s > self.patience.stall_s:
            if self._window_bytes < self.patience.floor_bytes:
                raise TimeoutError("the body has stalled")
            self._waited_s, self._window_bytes = 0.0, 0

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Watched:
    """What both kinds of connection share."""

    guard: _Guard

    def _respond(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        response.fp.close()
        self.guard = _Guard(sock, sock.gettimeout() or Patience().head_s)
        response.fp = io.BufferedReader(self.guard, buffer_size=64 * 1024)
        return response

    @staticmethod
    def _look_at(sock: socket.socket, host: str) -> socket.socket:
        peer = str(sock.getpeername()[0])
        if forbidden_peer(host, peer):
            sock.close()
            raise _ForbiddenPeerError(f"{host} ({peer})")
        return sock


class _Plain(_Watched, HTTPConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = self._respond  # type: ignore[assignment]

    def _new_conn(self) -> socket.socket:
        return self._look_at(super()._new_conn(), self.host)


class _Secure(_Watched, HTTPSConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = self._respond  # type: ignore[assignment]

    def _new_conn(self) -> socket.socket:
        return self._look_at(super()._new_conn(), self.host)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure
