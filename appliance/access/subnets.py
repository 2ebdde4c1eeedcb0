"""Networks whose clients may have models answer without a key, because they cannot send one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from appliance.access.grants import Grant
from appliance.access.scopes import Scope

_GRANT: Final = Grant(key_id="", name="trusted subnet", scopes=frozenset({Scope.INFER}))


class TrustedSubnets:
    """Stateless; any thread."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def grant_for(self, address: str) -> Grant | None:
        """Of the client at `address`; None: it needs a key."""
        if not self._networks:
            return None
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        wrapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        client = wrapped or parsed
        return _GRANT if any(client in network for network in self._networks) else None
