"""The Host header. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_of(header: str) -> str | None:
    """The host in a Host header without its port, in lower case; None when it is not exactly one host."""
    if any(character in header for character in ", /\\@\t"):
        return None
    try:
        host = urlsplit(f"//{header}").hostname
    except ValueError:
        return None
    return host.rstrip(".") if host else None
