"""The `[store]` table as the store's own policies."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config import StoreSettings
from appliance.store.outbound import HostSettings, Outbound


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePolicy:
    outbound: Outbound
    hub: str | None
    """Base address that stands for the hub in names; None: the hub's own host, where it is named."""
    floor_fraction: float
    """Part of the disk that stays free."""


def policy_of(settings: StoreSettings) -> StorePolicy:
    return StorePolicy(
        outbound=outbound_of(settings), hub=settings.hub or None, floor_fraction=settings.floor_fraction
    )


def outbound_of(settings: StoreSettings) -> Outbound:
    return Outbound(
        hosts={
            name: HostSettings(
                insecure=host.insecure, token=host.token or None, redirects_to=host.redirects_to
            )
            for name, host in settings.hosts.items()
        }
    )
