"""Who may ask, and for what: `[access]`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from appliance.config.section import Section, setting
from appliance.config.values import KeyId, KeyScope, NetworkAddress, Sha256, frozen, key_from_sha256
from appliance.units import MOST_CONTEXT

_LEAST_PREFIX: Final = {4: 8, 6: 16}
"""Shorter ones are most of the internet and not somebody's network."""


class KeySettings(Section):
    """One key. `outpost keys create` makes others, without a restart; these can only be changed here."""

    sha256: Sha256 = Field(description="SHA-256 of the whole key, in hex. The key itself is stored nowhere.")
    scopes: Annotated[tuple[KeyScope, ...], BeforeValidator(frozen)] = setting(
        ("infer",), "What it may do; nothing but what is listed.", min_length=1
    )
    name: str = setting("", "What you call it.")
    models: Annotated[tuple[str, ...], BeforeValidator(frozen)] = setting(
        (), "Names of models, or patterns of names (*, ?), that it may use and see; empty: all."
    )
    requests_per_min: int | None = setting(None, "Most requests.", unit="requests/min", ge=1)
    tokens_per_min: int | None = setting(None, "Most prompt and output tokens.", unit="tokens/min", ge=1)
    tokens_per_day: int | None = setting(None, "Most prompt and output tokens.", unit="tokens/day", ge=1)
    concurrency: int | None = setting(
        None, "Most requests at work or waiting at once.", unit="requests", ge=1
    )
    max_context: int | None = setting(
        None,
        "Most tokens of one request, its prompt and its answer together.",
        unit="tokens",
        ge=1,
        le=MOST_CONTEXT,
    )
    background_only: bool = setting(
        default=False, text="Its requests wait until nobody else's realtime ones do."
    )


class AccessSettings(Section):
    """Who may ask, and for what. Without any key, here or made with `outpost keys`, everybody on this machine
    may, and nobody else.
    """

    claim: bool = setting(
        default=False,
        text="Ask for the claim of the administrator also where only this machine can reach the door; "
        "where others can, it is asked for in any case while no key has keys:admin.",
    )
    allow_everyone: bool = setting(
        default=False, text="Let trusted_subnets hold most of the internet, or all of it."
    )
    trusted_subnets: Annotated[tuple[NetworkAddress, ...], BeforeValidator(frozen)] = setting(
        (),
        "Networks whose clients may list models and have them answer without a key, for those that cannot "
        "send one. Shown as a warning in the health report.",
    )
    keys: dict[KeyId, Annotated[KeySettings, BeforeValidator(key_from_sha256)]] = Field(
        default_factory=dict,
        description="Key id = SHA-256 of the whole key, in hex (the key itself is stored nowhere): it may "
        "have models answer. Or key id = { sha256 = …, scopes = […] } with any of infer, models:read (list "
        "and take away), models:write (change what is stored), keys:admin (make and revoke keys), metrics "
        "and system (see the state of the machine and what the requests of other keys do).",
    )

    @field_validator("trusted_subnets")
    @classmethod
    def _are_networks_of_somebody(cls, subnets: tuple[str, ...], told: ValidationInfo) -> tuple[str, ...]:
        for subnet in subnets:
            network = ipaddress.ip_network(subnet)
            if network.prefixlen < _LEAST_PREFIX[network.version] and not told.data.get("allow_everyone"):
                raise ValueError(
                    f"networks of /{_LEAST_PREFIX[4]} or smaller (IPv6: /{_LEAST_PREFIX[6]}): {subnet} would "
                    "let everyone in; if that is meant, say allow_everyone = true"
                )
        return subnets
