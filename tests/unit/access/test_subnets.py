from __future__ import annotations

import pytest

from appliance.access.scopes import Scope
from appliance.access.subnets import TrustedSubnets

SUBNETS = TrustedSubnets(["192.168.1.0/24", "fd00:1::/32", "10.0.0.5"])


@pytest.mark.parametrize(
    "address", ["192.168.1.1", "192.168.1.255", "10.0.0.5", "fd00:1::9", "::ffff:192.168.1.1"]
)
def test_who_is_inside_may_infer_and_nothing_else(address: str) -> None:
    grant = SUBNETS.grant_for(address)
    assert grant is not None
    assert grant.scopes == {Scope.INFER}
    assert grant.key_id == ""


@pytest.mark.parametrize(
    "address",
    ["192.168.2.1", "10.0.0.6", "fd00:2::9", "127.0.0.1", "", "lan", "192.168.1.1:80", "::192.168.1.1"],
)
def test_who_is_not_needs_a_key(address: str) -> None:
    assert SUBNETS.grant_for(address) is None


def test_without_any_nobody_is_trusted() -> None:
    assert TrustedSubnets().grant_for("127.0.0.1") is None
