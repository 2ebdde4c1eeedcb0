"""The door as the daemon holds it: one loop thread over all listening sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from waitress import wasyncore

from appliance import log
from appliance.api.server.limits import ServerLimits
from appliance.api.server.listening import Loop, TcpListener, UnixListener, bind_tcp, bind_unix
from appliance.api.server.threads import Dispatcher

_log = log.logger("api")


def serve(
    app: Callable[..., Any],
    *,
    listen: tuple[str, int],
    limits: ServerLimits = ServerLimits(),  # noqa: B008 - frozen
    proxy_socket: Path | None = None,
) -> Server:
    """Bind, start the loop in its own thread, and return. Raises AddressInUse or ConfigError. Port 0: any
    free one. `proxy_socket`: a Unix socket beside it, for a proxy of this machine (`caller.py`).
    """
    return Server(app, listen=listen, limits=limits, proxy_socket=proxy_socket)


class Server:
    """A running door. `close` belongs to whoever called `serve`; the rest to the loop thread and its
    workers.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        *,
        listen: tuple[str, int],
        limits: ServerLimits,
        proxy_socket: Path | None = None,
    ) -> None:
        self._map: dict[int, Any] = {}
        self._dispatcher = Dispatcher(limits.max_threads)
        loop = Loop(limits=limits, map=self._map, dispatcher=self._dispatcher)
        tcp = bind_tcp(app, loop, listen=listen)
        self._listeners: list[TcpListener | UnixListener] = [tcp]
        try:
            if proxy_socket is not None:
                self._listeners.append(bind_unix(app, loop, path=proxy_socket))
        except BaseException:
            self._end_loop()
            raise
        host, port = tcp.socket.getsockname()[:2]
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
        on_loop = self._listeners[0].pull_trigger_with  # one trigger keeps the order
        for listener in self._listeners:
            on_loop(listener.stop_accepting)
        self._dispatcher.wait_idle(grace_s)
        for listener in self._listeners:
            on_loop(listener.cut_all)
        self._dispatcher.shutdown(timeout=grace_s)
        on_loop(self._end_loop)
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
