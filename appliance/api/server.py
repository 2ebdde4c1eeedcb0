"""The one door to waitress: its settings, the on-demand threads, JSON for the faults it finds itself,
deadlines it lacks.

    client ⇄ socket ⇄ Channel (loop thread: reads, polls, flushes what was left over)
                         └ task ⇄ worker thread: app, and writes straight to the socket while it takes them

A streamed answer holds a worker to its end. Workers are made on demand up to `max_threads`, which is above
what the queue admits, so that the request to be refused finds a free one at once. A reader that is slow is
waited for at `MAX_UNSENT_BYTES`, and cut off when nothing of it could be sent for `stall_s`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from appliance import log
from appliance.api.error_responses import http_error_object
from appliance.api.exchange import request_id_of
from appliance.errors import AddressInUse, ConfigError

_log = log.logger("api")

MAX_UNSENT_BYTES: Final = 256 * 1024
"""Per connection; waitress's own default is 16 MiB."""
MAX_HEADER_BYTES: Final = 32 * 1024
_SPARE_THREADS: Final = 32
"""Above what the queue admits: for refusals, health and metrics."""
_SPARE_CONNECTIONS: Final = 256
"""Idle keep-alive connections beside those that work."""
_SWEEP_S: Final = 2
_EADDRINUSE: Final = 98
_TLS_HANDSHAKE: Final = b"\x16\x03"
"""How a TLS record of a greeting begins (RFC 8446, 5.1); no method of HTTP does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bounds of connections and threads."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_concurrent: int = 640
    """Requests that the app works on at once (`places.py`); those it refuses need a thread for a moment."""
    idle_s: float = 75.0
    """A connection without a request is closed after this."""
    read_s: float = 120.0
    """Within this a request must have come whole, header and body."""
    stall_s: float = 30.0
    """An answer of which nothing could be sent for so long is given up."""

    @property
    def max_threads(self) -> int:
        return self.max_concurrent + _SPARE_THREADS


def serve(
    app: Callable[..., Any], *, listen: tuple[str, int], limits: ServerLimits = ServerLimits()
) -> Server:
    """Bind, start the loop in its own thread, and return. Raises AddressInUse or ConfigError. Port 0: any
    free one.
    """
    return Server(app, listen=listen, limits=limits)


class Server:
    """A running door. `close` belongs to whoever called `serve`; the rest to the loop thread and its
    workers.
    """

    def __init__(self, app: Callable[..., Any], *, listen: tuple[str, int], limits: ServerLimits) -> None:
        self._map: dict[int, Any] = {}
        self._dispatcher = _Dispatcher(limits.max_threads)
        self._wsgi = _bind(app, listen=listen, limits=limits, map_=self._map, dispatcher=self._dispatcher)
        host, port = self._wsgi.socket.getsockname()[:2]
        self._address = (str(host), int(port))
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="http-loop", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """As bound: the real port where 0 was asked for."""
        return self._address

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self, *, grace_s: float = 5.0) -> None:
        """Take no more connections, let running answers end for `grace_s`, cut the rest, join all threads.
        Idempotent.
        """
        if self._is_closing:
            return
        self._is_closing = True
        self._wsgi.pull_trigger_with(self._wsgi.stop_accepting)
        self._dispatcher.wait_idle(grace_s)
        self._wsgi.pull_trigger_with(self._wsgi.cut_all)
        self._dispatcher.shutdown(timeout=grace_s)
        self._wsgi.pull_trigger_with(self._end_loop)
        self._thread.join(grace_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        """Top of the loop thread."""
        try:
            wasyncore.loop(timeout=1, use_poll=True, map=self._map)
        except Exception as error:  # noqa: BLE001 - thread top
            _log.error("http_loop_failed", exc_info=error)

    def _end_loop(self) -> None:
        """On the loop thread: an empty map ends its loop."""
        wasyncore.close_all(self._map)
        self._map.clear()


def _bind(
    app: Callable[..., Any],
    *,
    listen: tuple[str, int],
    limits: ServerLimits,
    map_: dict[int, Any],
    dispatcher: _Dispatcher,
) -> _WsgiServer:
    host, port = listen
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        return _WsgiServer(
            app,
            map=map_,
            adj=_adjustments(limits),
            sockinfo=(family, kind, protocol, address),
            dispatcher=dispatcher,
            limits=limits,
        )
    except socket.gaierror as error:
        raise ConfigError(
            source="server", key="listen", value=f"{host}:{port}", expected="an address of this machine"
        ) from error
    except OSError as error:
        wasyncore.close_all(map_, ignore_all=True)
        if error.errno == _EADDRINUSE:
            raise AddressInUse(address=f"{host}:{port}") from error
        raise ConfigError(
            source="server",
            key="listen",
            value=f"{host}:{port}",
            expected=f"an address that can be bound ({error.strerror})",
        ) from error


def _adjustments(limits: ServerLimits) -> Adjustments:
    """Waitress's settings; each differs from its default for the reason beside it. `send_bytes`
    stays 1, so that a token leaves at once; to set it is deprecated.
    """
    return Adjustments(
        listen="127.0.0.1:0",  # unused: the socket is ours
        threads=limits.max_threads,
        ident=None,  # no name, no version
        channel_request_lookahead=1,  # reads on during a request: so a closed connection is noticed
        max_request_body_size=limits.max_body_bytes + 1,  # waitress refuses what is equal
        max_request_header_size=MAX_HEADER_BYTES,
        inbuf_overflow=1024 * 1024,
        outbuf_high_watermark=MAX_UNSENT_BYTES,
        outbuf_overflow=64 * 1024 * 1024,  # never to disk: the watermark comes first
        connection_limit=limits.max_threads + _SPARE_CONNECTIONS,
        channel_timeout=limits.idle_s,
        cleanup_interval=_SWEEP_S,
        asyncore_use_poll=True,  # select() ends at 1,024 descriptors
        expose_tracebacks=False,
        clear_untrusted_proxy_headers=False,  # `caller.py` judges them, also by their being there
        log_socket_errors=False,  # a client that goes away is no error of ours
        server_name="outpost",
    )


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Refuses what two servers in a row might read in two ways (smuggling) and waitress lets through."""

    def parse_header(self, header_plus: bytes) -> None:
        first_line, _, rest = header_plus.partition(b"\r\n")
        lines = rest.split(b"\r\n")
        if any(line.startswith((b" ", b"\t")) for line in lines):
            raise ParsingError("a header is folded over two lines")
        names = [line.partition(b":")[0].lower() for line in lines]
        for name in (b"host", b"content-length", b"transfer-encoding"):
            if names.count(name) > 1:
                raise ParsingError(f"the header {name.decode()} stands there twice")
        if b"transfer-encoding" in names and (b"content-length" in names or first_line.endswith(b"HTTP/1.0")):
            raise ParsingError("Transfer-Encoding beside Content-Length or in HTTP/1.0")
        super().parse_header(header_plus)


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Faults that waitress finds itself, in the form of all others."""

    def execute(self) -> None:
        error = self.request.error
        message = {413: "the body is larger than this Outpost takes"}.get(
            error.code, f"{error.reason}: {error.body}"
        )
        body = msgspec.json.encode(http_error_object(error.code, message))
        request_id = request_id_of(self.request.headers.get("X_REQUEST_ID"))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "application/json"), ("X-Request-Id", request_id)])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        _log.info(
            "request", request_id=request_id, status=error.code, route="unmatched", error="refused_by_server"
        )


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection. waitress's own rules say which thread may call what; here only the loop thread's part
    grows.
    """

    error_task_class = _JsonErrorTask
    parser_class = _Parser
    reading_since_s: float | None = None
    """When the request being received began."""

    def received(self, data: bytes) -> bool:
        if self.request is None and data.startswith(_TLS_HANDSHAKE):
            # Clients that try HTTPS first (skopeo) would wait here for ten seconds before they try HTTP.
            self.handle_close()
            return False
        result = bool(super().received(data))
        if self.request is None:
            self.reading_since_s = None
        elif self.reading_since_s is None:
            self.reading_since_s = time.time()
        return result

    def is_overdue(self, now_s: float, limits: ServerLimits) -> bool:
        """A request that does not come whole, or an answer that is not taken."""
        if self.reading_since_s is not None and now_s - self.reading_since_s > limits.read_s:
            return True
        return bool(self.total_outbufs_len) and now_s - self.last_activity > limits.stall_s


class _WsgiServer(TcpWSGIServer):  # type: ignore[misc]
    """The listening socket, on the loop thread."""

    channel_class = _Channel

    def __init__(self, *args: Any, limits: ServerLimits, **kwargs: Any) -> None:
        self._limits = limits
        super().__init__(*args, **kwargs)

    def pull_trigger(self) -> None:
        """Any thread. After the end the trigger's descriptor may be somebody else's."""
        if not self.trigger._closed:  # noqa: SLF001 - waitress tells it nowhere else
            super().pull_trigger()

    def pull_trigger_with(self, thunk: Callable[[], None]) -> None:
        """Any thread: have the loop thread call `thunk`."""
        with contextlib.suppress(OSError):  # the loop has ended: there is nothing left to tell it
            self.trigger.pull_trigger(thunk)

    def maintenance(self, now: float) -> None:
        """Loop thread. Overdue connections are closed here and now: waitress's own `will_close` waits until
        the socket can be written to, which that of a stalled reader never can.
        """
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(now, self._limits):
                channel.handle_close()

    def stop_accepting(self) -> None:
        self.accepting = False
        self.del_channel()
        if self.socket is not None:
            self.socket.close()

    def cut_all(self) -> None:
        for channel in list(self.active_channels.values()):
            channel.handle_close()


class _Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Workers on demand: an idle Outpost holds no stacks for the fifty streams of the afternoon."""

    def __init__(self, max_threads: int) -> None:
        super().__init__()
        self._max_threads = max_threads
        self._is_over = False

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        thread = threading.Thread(target=target, name=f"http-{thread_no}", args=(thread_no,), daemon=True)
        thread.start()

    def add_task(self, task: Any) -> None:
        """Loop thread, and workers with a pipelined request."""
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            running = len(self.threads) - self.stop_count
            idle = running - self.active_count
            is_short = len(self.queue) > idle and running < self._max_threads and not self._is_over
        if is_short:
            self.set_thread_count(running + 1)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no worker works. Polls: waitress has no signal for it, and this runs once in a life."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with self.lock:
                if self.active_count == 0 and not self.queue:
                    return True
            time.sleep(0.02)
        return False

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:  # noqa: FBT001, FBT002
        """In the form of waitress."""
        with self.lock:
            self._is_over = True
        return bool(super().shutdown(cancel_pending, timeout))
