"""sd_notify(3) without its library: what systemd is told of this service, and how often it wants to hear."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


def notify(*lines: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send `READY=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=…`. False: nobody asked, or nobody listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # '@' is how systemd writes the zero byte of an abstract address.
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(lines).encode(), name)
        return True
    return False


def watchdog_interval_s(
    *, environment: Mapping[str, str] = os.environ, pid: int | None = None
) -> float | None:
    """How often to send `WATCHDOG=1`: half of what systemd allows (sd_watchdog_enabled(3)). None: it does
    not watch us.
    """
    wanted_pid = environment.get("WATCHDOG_PID")
    if wanted_pid is not None and wanted_pid != str(os.getpid() if pid is None else pid):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    micros = int(text) if text.isascii() and text.isdigit() else 0
    return micros / 2_000_000 if micros else None
