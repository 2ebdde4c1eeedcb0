"""Which other machines this Outpost may call: none that the configuration does not name. Pure.

The rules, each asked before a socket is opened (`http.py` asks):

1. A host must be named in `[store] hosts`; a name without a port means the scheme's own port.
2. An IP address or `localhost` must be named exactly, with its port: nobody can lead us to a neighbour.
3. Plain http only to a host that is marked insecure.
4. A redirect, or a realm that gives tokens, may lead to the same host, or to one that `redirects_to` of the
   first host allows. A pattern `*.example.com` allows names below it, never an address.
5. A secret goes only to the host it was given for.
6. Where a name leads is looked at once connected (`forbidden_peer`): a name must not resolve to this machine,
   however IPv6 wraps its address.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from appliance.errors import OutboundRefused

MAX_URL_CHARS: Final = 8192
_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_IPV4_BITS: Final = 0xFFFF_FFFF
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_TEREDO: Final = ipaddress.ip_network("2001::/32")
_LOCAL_NAT64: Final = ipaddress.ip_network("64:ff9b:1::/48")
_ISATAP: Final = 0x0000_5EFE
"""RFC 5214, 6.1: upper half of the interface id, but for its two bits `u` and `g`."""
_WRAPPINGS: Final = tuple(
    (ipaddress.IPv6Network(network), shifts)
    for network, shifts in (
        ("::/96", (0,)),  # IPv4-compatible (RFC 4291, 2.5.5.1)
        ("::ffff:0:0/96", (0,)),  # IPv4-mapped (RFC 4291, 2.5.5.2)
        ("::ffff:0:0:0/96", (0,)),  # IPv4-translated (RFC 2765, 2.1)
        ("64:ff9b::/96", (0,)),  # NAT64, well-known prefix (RFC 6052, 2.1)
        ("2002::/16", (80,)),  # 6to4 (RFC 3056, 2)
        ("2001::/32", (64, 0)),  # Teredo
    )
)
"""How many bits lie behind the IPv4 address."""
_PRINTABLE: Final = re.compile(r"[!-~]+")


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What the configuration says of one host."""

    insecure: bool = False
    """Plain http instead of TLS. There is no TLS without verification."""
    token: str | None = field(default=None, repr=False)
    """`user:password`, or a bearer token."""
    redirects_to: tuple[str, ...] = ()
    """Other hosts it may send us to for blobs and tokens: `HOST[:PORT]` or `*.DOMAIN`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port of a URL that was checked."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without its brackets."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """The policy. `hosts` maps `HOST[:PORT]` to its settings; empty: nothing is called."""

    hosts: Mapping[str, HostSettings] = field(default_factory=dict)

    def base_url(self, host: str) -> str:
        """`https://HOST`, or `http://HOST` where insecure. Raises OutboundRefused."""
        for scheme in ("https", "http"):
            origin = parse_origin(f"{scheme}://{host}")
            settings = self.settings(origin) if origin else None
            if origin and settings and settings.insecure == (scheme == "http"):
                return f"{scheme}://{origin}"
        raise OutboundRefused(host=host[:200])

    def check(self, url: str) -> Origin:
        """The origin of a first URL. Raises OutboundRefused (rules 1 to 3)."""
        origin = parse_origin(url)
        if origin is None:
            raise OutboundRefused(host=url[:200])
        settings = self.settings(origin)
        if settings is None or (origin.scheme == "http" and not settings.insecure):
            raise OutboundRefused(host=str(origin))
        return origin

    def check_redirect(self, first: Origin, url: str) -> Origin:
        """The origin of a URL that `first` has named. Raises OutboundRefused (rule 4)."""
        origin = parse_origin(url)
        if origin is None:
            raise OutboundRefused(host=url[:200])
        if origin == first:
            return origin
        settings = self.settings(first)
        allowed = settings.redirects_to if settings else ()
        own = self.settings(origin)
        is_plain = origin.scheme == "http"
        if not any(_matches(pattern, origin) for pattern in allowed) or (
            is_plain and not (own and own.insecure)
        ):
            raise OutboundRefused(host=str(origin))
        return origin

    def settings(self, origin: Origin) -> HostSettings | None:
        """Those of the host itself; None where the configuration does not name it."""
        for key, settings in self.hosts.items():
            if _matches_exactly(key, origin):
                return settings
        return None

    def authorization(self, origin: Origin) -> str | None:
        """The header's value with the secret configured for this very host (rule 5)."""
        settings = self.settings(origin)
        if settings is None or not settings.token:
            return None
        if ":" in settings.token:
            return "Basic " + base64.b64encode(settings.token.encode()).decode("ascii")
        return f"Bearer {settings.token}"


def parse_origin(url: str) -> Origin | None:
    """None for what is not plainly `http(s)://HOST[:PORT]/…`: user names, blanks, odd hosts, long URLs."""
    if len(url) > MAX_URL_CHARS or not _PRINTABLE.fullmatch(url) or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in _PORTS or "@" in parts.netloc or not host or port == 0:
        return None
    host = host.rstrip(".")
    if not _NAME.fullmatch(host) and address_of(host) is None:
        return None
    if address_of(host) is None and _is_disguised_address(host):
        return None
    return Origin(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme])


def address_of(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def forbidden_peer(host: str, peer: str) -> bool:
    """Whether a connection to `host` must not have ended at address `peer` (rule 6).

    A name may lead into the local network, where mirrors stand, but not to this machine itself and not to the
    link-local range where clouds keep their secrets. An address, or `localhost`, was named by the operator.
    """
    if address_of(host) is not None or is_local_name(host):
        return False
    address = address_of(peer.partition("%")[0])
    if address is None:
        return True
    if any(_is_own(one) for one in _readings(address)):
        return True
    return any(one in _THIS_NETWORK or _is_own(one) for one in (address, *embedded_in(address)))


def embedded_in(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address is a wrapping of: a gateway, or this very kernel, would send
    there what is sent to it.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    shifts = next((shifts for network, shifts in _WRAPPINGS if address in network), ())
    found = [ipaddress.IPv4Address(int(address) >> shift & _IPV4_BITS) for shift in shifts]
    if address in _TEREDO:  # RFC 4380, 4: server, and the client with every bit turned over
        found = [found[0], ipaddress.IPv4Address(int(found[1]) ^ _IPV4_BITS)]
    if int(address) >> 32 & 0xFCFF_FFFF == _ISATAP:
        found.append(ipaddress.IPv4Address(int(address) & _IPV4_BITS))
    return tuple(found)


def _readings(address: Address) -> list[ipaddress.IPv4Address]:
    """Of the local NAT64 prefix (RFC 8215), whose length only its network knows: what the address wraps if it
    is one of 48, 56, 64 or 96 bits. All but one are chance, so zeros among them tell nothing.
    """
    if address not in _LOCAL_NAT64:
        return []
    low = int(address) & (1 << 80) - 1
    closed = low >> 64 << 56 | low & (1 << 56) - 1  # RFC 6052, 2.2: bits 64 to 71 are left out
    around = [closed >> shift & _IPV4_BITS for shift in (40, 32, 24)]
    return [ipaddress.IPv4Address(bits) for bits in (*around, low & _IPV4_BITS)]


def _is_own(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or (address.is_unspecified and address.version == 6)
    )


def _matches_exactly(key: str, origin: Origin) -> bool:
    """Whether `HOST[:PORT]` names this origin. Addresses and localhost need their port written out."""
    host, port = _split(key.lower())
    if host != origin.host:
        return False
    if port is None:
        is_named = address_of(host) is None and not is_local_name(host)
        return is_named and origin.port == _PORTS[origin.scheme]
    return port == origin.port


def _matches(pattern: str, origin: Origin) -> bool:
    if not pattern.startswith("*."):
        return _matches_exactly(pattern, origin)
    is_name = address_of(origin.host) is None and not is_local_name(origin.host)
    return (
        is_name
        and origin.port == _PORTS[origin.scheme]
        and origin.host.endswith(pattern[1:].lower())
        and len(origin.host) > len(pattern) - 1
    )


def _split(key: str) -> tuple[str, int | None]:
    """`host:port` → both; brackets of an IPv6 address taken off."""
    if key.startswith("["):
        host, _, rest = key[1:].partition("]")
        port = rest.removeprefix(":")
    elif key.count(":") > 1:
        host, port = key, ""
    else:
        host, _, port = key.partition(":")
    return host.rstrip("."), int(port) if port.isascii() and port.isdigit() else None


def _is_disguised_address(host: str) -> bool:
    """`127.1`, `0x7f000001`, `2130706433`: what resolvers take for an address although it looks like none."""
    last = host.rpartition(".")[2]
    return bool(re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last))
