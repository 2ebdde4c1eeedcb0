"""What heat asks, carried out by real runner processes: the pace, also of new runners; refusals; cancels."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from appliance.errors import Throttled
from appliance.supervisor.cooling import CoolingOrder
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker
from appliance.wire.messages import Delta, SetLimits
from tests.integration.supervisor.asking import Model, ask, deltas_of, text_of
from tests.integration.supervisor.conftest import QUICK, MakeSupervisor, eventually, spec

pytestmark = pytest.mark.alone

SLOW = CoolingOrder(limits=SetLimits(duty=0.1))
CLOSED = CoolingOrder(refusal=Throttled(reason="cpu is 0.2 K below its limit", retry_after_s=42.0))
STEP_S = 0.02


def timed(supervisor: Supervisor, tokens: int) -> float:
    began_s = time.monotonic()
    text_of(supervisor, tokens)
    return time.monotonic() - began_s


def cool(supervisor: Supervisor, order: CoolingOrder) -> None:
    supervisor.cool(order)
    eventually(lambda: supervisor.cooling.order is order)


def test_a_tenth_of_the_time_takes_about_ten_times_as_long(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=STEP_S)))
    text_of(supervisor, 1)
    cool(supervisor, SLOW)
    assert timed(supervisor, 6) >= 5 * STEP_S * 10 * 0.9  # the last pause is nobody's
    cool(supervisor, CoolingOrder())
    assert timed(supervisor, 6) < 5 * STEP_S * 10 * 0.9


def test_a_runner_that_starts_later_has_the_limits_too(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=STEP_S)))
    cool(supervisor, SLOW)
    assert timed(supervisor, 6) >= 5 * STEP_S * 10 * 0.9


def test_a_request_that_runs_goes_on_while_new_ones_are_refused(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=STEP_S)))
    running = supervisor.generate("m", ask(20), asker=Asker(owner="a"))
    cool(supervisor, CLOSED)
    with pytest.raises(Throttled, match=r"cpu is 0\.2 K below its limit; retry in 42 s") as refusal:
        supervisor.generate("m", ask(), asker=Asker(owner="b"))
    assert refusal.value.retry_after_s == 42.0
    assert "".join(delta.text for delta in deltas_of(running)).startswith("0 1 2 ")
    cool(supervisor, CoolingOrder())
    assert text_of(supervisor, 2) == "0 1 "


def test_a_cancel_during_a_long_pause_acts_at_once(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.2)))
    text_of(supervisor, 1)
    cool(supervisor, CoolingOrder(limits=SetLimits(duty=0.02)))  # 0.2 s of work, 9.8 s of sleep
    generation = supervisor.generate("m", ask(10), asker=Asker(owner="a"))
    while not any(isinstance(item, Delta) for item in generation.next(5.0) or []):
        pass
    generation.close()
    eventually(lambda: supervisor.status()[0].running == 0, within_s=1.0)
    eventually(
        lambda: (stats := supervisor.status()[0].stats) is not None and stats.running == 0, within_s=2.0
    )


def test_a_pause_longer_than_the_heartbeats_patience_is_no_death(
    supervise: MakeSupervisor, model: Model
) -> None:
    policy = RunnerPolicy(
        **{name: getattr(QUICK, name) for name in QUICK.__slots__} | {"heartbeat_timeout_s": 0.6}
    )
    supervisor = supervise(spec(model(step_s=0.05)), runners=policy)
    text_of(supervisor, 1)
    cool(supervisor, CoolingOrder(limits=SetLimits(duty=0.04)))  # pauses of 1.2 s
    assert text_of(supervisor, 3) == "0 1 2 "
    assert supervisor.status()[0].starts == 1


def test_looser_limits_end_a_pause_under_way(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.2)))
    text_of(supervisor, 1)
    cool(supervisor, CoolingOrder(limits=SetLimits(duty=0.02)))
    with ThreadPoolExecutor(1) as pool:
        began_s = time.monotonic()
        answer = pool.submit(text_of, supervisor, 2)
        eventually(lambda: supervisor.status()[0].last_token_age_s is not None)
        time.sleep(0.5)  # it is in its first pause, of 9.8 s
        cool(supervisor, CoolingOrder())
        assert answer.result(5.0) == "0 1 "
    assert time.monotonic() - began_s < 5.0


def test_the_smaller_sibling_stands_in_only_while_asked_to_and_only_if_it_is_there(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(), name="big"), spec(model(), name="small"))
    assert supervisor.stand_in("big") is None
    cool(supervisor, CoolingOrder(siblings={"big": "small", "other": "gone"}))
    assert supervisor.stand_in("big") == "small"
    assert supervisor.stand_in("small") is None
    cool(supervisor, CoolingOrder(siblings={"big": "gone"}))
    assert supervisor.stand_in("big") is None
