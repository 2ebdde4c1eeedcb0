"""Listening sockets: for everybody by TCP, and for a proxy of this machine by a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from appliance.api.caller import PROXY_SOCKET
from appliance.api.server.channel import Channel
from appliance.api.server.limits import MAX_HEADER_BYTES, MAX_UNSENT_BYTES, SPARE_CONNECTIONS, ServerLimits
from appliance.api.server.threads import Dispatcher
from appliance.errors import AddressInUse, ConfigError

_SWEEP_S: Final = 2
_SOCKET_MODE: Final = 0o660
"""Its owner and its group: the proxy is made a member of it."""

App = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What all listening sockets of a door share."""

    limits: ServerLimits
    map: dict[int, Any]
    """Of waitress's loop: by descriptor."""
    dispatcher: Dispatcher


class _Listener:
    """What both kinds have in common; on the loop thread, beside waitress's own server."""

    channel_class = Channel
    trigger: Any
    socket: Any
    active_channels: dict[int, Any]

    def __init__(self, *args: Any, limits: ServerLimits, **kwargs: Any) -> None:
        self._limits = limits
        self.stall_s = limits.stall_s
        super().__init__(*args, **kwargs)

    def pull_trigger(self) -> None:
        """Any thread. After the end the trigger's descriptor may be somebody else's."""
        if not self.trigger._closed:  # noqa: SLF001 - waitress tells it nowhere else
            super().pull_trigger()  # type: ignore[misc]  # waitress's

    def pull_trigger_with(self, thunk: Callable[[], None]) -> None:
        """Any thread: have the loop thread call `thunk`."""
        with contextlib.suppress(OSError):  # the loop has ended: there is nothing left to tell it
            self.trigger.pull_trigger(thunk)

    def maintenance(self, now: float) -> None:
        """Loop thread. Overdue connections are closed here and now: waitress's own `will_close` waits until
        the socket can be written to, which that of a stalled reader never can.
        """
        super().maintenance(now)  # type: ignore[misc]  # waitress's
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(now, self._limits):
                channel.handle_close()

    def stop_accepting(self) -> None:
        self.accepting = False
        self.del_channel()  # type: ignore[attr-defined]  # waitress's
        if self.socket is not None:
            self.socket.close()

    def cut_all(self) -> None:
        for channel in list(self.active_channels.values()):
            channel.handle_close()


class TcpListener(_Listener, TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """For everybody."""


class UnixListener(_Listener, UnixWSGIServer):  # type: ignore[misc]
    """For a proxy: who is behind it, it says itself."""

    def bind_server_socket(self) -> None:
        """Raises OSError."""
        path = self.adj.unix_socket
        _clear(Path(path))
        # Nobody else may connect in the moment before a chmod.
        before = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            self.bind(path)
        finally:
            os.umask(before)

    def fix_addr(self, _addr: object) -> tuple[str, None]:
        return (PROXY_SOCKET, None)

    def stop_accepting(self) -> None:
        super().stop_accepting()
        Path(self.adj.unix_socket).unlink(missing_ok=True)


def bind_tcp(app: App, loop: Loop, *, listen: tuple[str, int]) -> TcpListener:
    """Raises AddressInUse, ConfigError."""
    host, port = listen
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        return TcpListener(
            app,
            map=loop.map,
            adj=_adjustments(loop.limits),
            sockinfo=(family, kind, protocol, address),
            dispatcher=loop.dispatcher,
            limits=loop.limits,
        )
    except socket.gaierror as error:
        raise ConfigError(
            source="server", key="listen", value=f"{host}:{port}", expected="an address of this machine"
        ) from error
    except OSError as error:
        wasyncore.close_all(loop.map, ignore_all=True)
        raise _refused(error, key="listen", value=f"{host}:{port}") from error


def bind_unix(app: App, loop: Loop, *, path: Path) -> UnixListener:
    """A socket that a crash has left there is replaced; one that somebody listens on is not, and nothing else
    is. Raises AddressInUse, ConfigError.
    """
    try:
        return UnixListener(
            app,
            map=loop.map,
            adj=_adjustments(loop.limits, unix_socket=path),
            dispatcher=loop.dispatcher,
            limits=loop.limits,
        )
    except OSError as error:
        raise _refused(error, key="proxy_socket", value=str(path)) from error


def _clear(path: Path) -> None:
    """Raises OSError where something else than a socket that nobody listens on is in the way."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, "something that is no socket is there")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "somebody listens on it")


def _refused(error: OSError, *, key: str, value: str) -> AddressInUse | ConfigError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(address=value)
    return ConfigError(
        source="server", key=key, value=value, expected=f"an address that can be bound ({error.strerror})"
    )


def _adjustments(limits: ServerLimits, *, unix_socket: Path | None = None) -> Adjustments:
    """Waitress's settings; each differs from its default for the reason beside it. `send_bytes`
    stays 1, so that a token leaves at once; to set it is deprecated.
    """
    # Of TCP the address is unused: the socket is ours.
    place = {"listen": "127.0.0.1:0"} if unix_socket is None else {"unix_socket": str(unix_socket)}
    return Adjustments(
        **place,
        threads=limits.max_threads,
        ident=None,  # no name, no version
        channel_request_lookahead=1,  # reads on during a request: so a closed connection is noticed
        max_request_body_size=limits.max_body_bytes + 1,  # waitress refuses what is equal
        max_request_header_size=MAX_HEADER_BYTES,
        inbuf_overflow=1024 * 1024,
        outbuf_high_watermark=MAX_UNSENT_BYTES,
        outbuf_overflow=64 * 1024 * 1024,  # never to disk: the watermark comes first
        connection_limit=limits.max_threads + SPARE_CONNECTIONS,
        channel_timeout=limits.idle_s,
        cleanup_interval=_SWEEP_S,
        asyncore_use_poll=True,  # select() ends at 1,024 descriptors
        expose_tracebacks=False,
        clear_untrusted_proxy_headers=False,  # `caller.py` judges them, also by their being there
        log_socket_errors=False,  # a client that goes away is no error of ours
        server_name="outpost",
    )
