from __future__ import annotations

from appliance.store.content import unreported
from appliance.store.work import Work
from tests.unit.store.layout_desk import Clock


def test_work_is_under_way_since_the_oldest_verb_began() -> None:
    clock = Clock()
    work = Work(clock)
    assert work.since_s() == 1000.0
    clock.now = 1100.0
    with work.one(unreported):
        clock.now = 1200.0
        with work.one(unreported):
            clock.now = 1300.0
            assert work.since_s() == 1100.0
    assert work.since_s() == 1300.0
