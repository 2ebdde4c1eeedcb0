"""Who is at the other end: the address on whose behalf a request waits, and whether it is this machine's own.

    peer is…                        the caller is                               on this machine?
    the Unix socket                 as of a trusted proxy                       never
    a trusted proxy                 whom its X-Forwarded-For names, from the    never
                                    right, other trusted proxies left out
    anyone, with a header that      the peer: whoever can reach us can write    never
    proxies write                   such headers
    loopback, without such headers  the peer                                    yes
    anyone else                     the peer                                    no

Callers on this machine may name its files (`store.py`). A proxy on this machine that adds no header looks
like one of them, so it has to be named in `[server] trusted_proxies`; what it forwards is then its own only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROXY_SOCKET: Final = "unix"
"""The peer's address of a request that came by the Unix socket: no address, so nobody can claim it."""
_FORWARDED_FOR: Final = "HTTP_X_FORWARDED_FOR"
_MARKS: Final = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP")
_MARK_PREFIX: Final = "HTTP_X_FORWARDED_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    address: str
    is_on_this_machine: bool = False
    is_certain: bool = True
    """The address is his own, and not that of a proxy in front of him."""


class Callers:
    """Who calls, by the socket and by the proxies that the configuration names. Stateless; any thread."""

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        """Addresses, or networks as in 10.0.0.0/8."""
        self._trusted = tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies)

    def caller_of(self, environ: Mapping[str, Any]) -> Caller:
        told = str(environ.get("REMOTE_ADDR", ""))
        if told == PROXY_SOCKET:
            named = self._named(str(environ.get(_FORWARDED_FOR, "")))
            return Caller(address=str(named or told), is_certain=named is not None)
        peer = address_of(told)
        if peer is None:
            return Caller(address=told, is_certain=False)
        if self._is_trusted(peer):
            named = self._named(str(environ.get(_FORWARDED_FOR, "")))
            return Caller(address=str(named or peer), is_certain=named is not None)
        is_own = not _is_forwarded(environ)
        return Caller(address=told, is_on_this_machine=peer.is_loopback and is_own, is_certain=is_own)

    def _named(self, forwarded_for: str) -> Address | None:
        """The last entry that no proxy of ours is: what stands before it, the caller may have written."""
        for entry in reversed(forwarded_for.split(",")):
            address = address_of(entry.strip())
            if address is None or not self._is_trusted(address):
                return address
        return None

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def address_of(text: str) -> Address | None:
    """`1.2.3.4`, `::1`, `[::1]`, each with or without a port, as proxies write them; an IPv4 address that
    IPv6 wraps is the IPv4 address.
    """
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    wrapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return wrapped or address


def _is_forwarded(environ: Mapping[str, Any]) -> bool:
    return any(mark in environ for mark in _MARKS) or any(key.startswith(_MARK_PREFIX) for key in environ)
