from __future__ import annotations

from pathlib import Path

from appliance.config import Config, HeatSettings
from appliance.daemon.heat import heat_policy, order_of
from appliance.hardware.root import Root
from appliance.supervisor.cooling import CoolingOrder
from appliance.thermal.values import Cooling, CoolingState, EngineLimits
from appliance.wire.messages import SetLimits
from tests.fakes.thermal_board import PI4, BoardFiles

SIBLINGS = {"big": "small"}


def test_no_limits_are_no_order() -> None:
    assert order_of(Cooling(), SIBLINGS) == CoolingOrder()


def test_all_measures_are_handed_on() -> None:
    limits = EngineLimits(
        token_budget=32,
        duty=0.12345,
        hold_background=True,
        prefer_sibling=True,
        admit=False,
        retry_after_s=41.26,
    )
    order = order_of(Cooling(state=CoolingState.CLOSED, reason="cpu is hot", limits=limits), SIBLINGS)
    assert order.limits == SetLimits(token_budget=32, duty=0.123)
    assert order.hold_background
    assert order.siblings == SIBLINGS
    assert order.refusal is not None
    assert order.refusal.retry_after_s == 41.3
    assert "cpu is hot" in order.refusal.message


def test_the_settings_become_the_policy(tmp_path: Path) -> None:
    settings = HeatSettings(power_budget_watts=15.0, margin_celsius=3.0, siblings={"big": "small"})
    BoardFiles(tmp_path, PI4)
    policy = heat_policy(Config(heat=settings), Root(tmp_path))
    assert (policy.power_budget_watts, policy.least_margin_celsius) == (15.0, 3.0)
    assert (policy.prefers_sibling, policy.is_raspberry_pi) == (True, True)


def test_without_a_budget_and_siblings_there_are_none(tmp_path: Path) -> None:
    policy = heat_policy(Config(), Root(tmp_path))
    assert (policy.power_budget_watts, policy.prefers_sibling, policy.is_raspberry_pi) == (None, False, False)
