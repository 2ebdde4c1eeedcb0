"""Where attempts come from: one IPv4 address, or the network that an IPv6 host takes its addresses from."""

from __future__ import annotations

import ipaddress


def source_of(address: str) -> str:
    """Who is slowed together with `address`: whoever has one IPv6 address has all of its /64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)
