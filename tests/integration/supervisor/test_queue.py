"""The waiting room with a real supervisor and real runner processes around the fake engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from appliance.errors import DeadlineExceeded, Overloaded
from appliance.supervisor.cooling import CoolingOrder
from appliance.supervisor.inference import Generation
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker, Priority, Turn
from appliance.wire.messages import Tokenize
from tests.integration.supervisor.asking import Model, ask, deltas_of
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec

pytestmark = [pytest.mark.alone, pytest.mark.integration]

ONE = QueuePolicy(max_running=1, max_waiting=4, patience_s=20.0)
LONG = 100_000
"""Tokens: for ever."""


def waiting(supervisor: Supervisor) -> int:
    return sum(status.waiting for status in supervisor.status())


class Line:
    """Requests behind one that runs until `let_go`; in the order in which they were served."""

    def __init__(self, supervisor: Supervisor, pool: ThreadPoolExecutor, first: Generation) -> None:
        self._supervisor = supervisor
        self._pool = pool
        self._first = first
        self.served: list[str] = []
        self.turns: dict[str, Turn] = {}

    def join(
        self, name: str, *, model: str = "m", owner: str = "a", turn: Turn | None = None
    ) -> Future[None]:
        """Returns when it stands in line."""
        self.turns[name] = turn = turn or Turn()
        turn.request_id = name

        def work() -> None:
            generation = self._supervisor.generate(model, ask(1), asker=Asker(owner=owner, turn=turn))
            self.served.append(name)
            deltas_of(generation)

        future = self._pool.submit(work)
        eventually(lambda: future.done() or name in {one.request_id for one in self._supervisor.waiting()})
        return future

    def let_go(self) -> None:
        self._first.close()


@contextmanager
def line(supervisor: Supervisor) -> Iterator[Line]:
    with ThreadPoolExecutor(16) as pool:
        first = supervisor.generate("m", ask(LONG), asker=Asker(owner="first"))
        try:
            yield Line(supervisor, pool, first)
        finally:
            first.close()


def test_realtime_goes_before_background_and_keys_take_turns(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.005)), queue=ONE)
    with line(supervisor) as queue:
        futures = [
            queue.join("background", turn=Turn(priority=Priority.BACKGROUND)),
            queue.join("a1"),
            queue.join("a2"),
            queue.join("b1", owner="b"),
        ]
        queue.let_go()
        for future in futures:
            future.result(10)
    assert queue.served == ["a1", "b1", "a2", "background"]
    first_standing = queue.turns["a2"].arrived_at
    assert first_standing is not None
    assert first_standing.position == 2  # before the background one
    waited_s = queue.turns["background"].waited_s
    assert waited_s is not None
    assert waited_s > 0


def test_background_that_has_waited_long_enough_goes_first(supervise: MakeSupervisor, model: Model) -> None:
    policy = QueuePolicy(max_running=1, max_waiting=4, patience_s=20.0, background_max_wait_s=0.2)
    supervisor = supervise(spec(model(step_s=0.005)), queue=policy)
    with line(supervisor) as queue:
        old = queue.join("background", turn=Turn(priority=Priority.BACKGROUND))
        young = queue.join("a1")
        time.sleep(0.3)
        queue.let_go()
        old.result(10), young.result(10)
    assert queue.served == ["background", "a1"]


def test_the_listing_has_everyone_in_turn(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.005)), queue=ONE)
    with line(supervisor) as queue:
        queue.join("bg", turn=Turn(priority=Priority.BACKGROUND, deadline_s=15.0))
        queue.join("a1", owner="b")
        shown = supervisor.waiting()
        assert [(one.request_id, one.standing.position, one.owner) for one in shown] == [
            ("a1", 1, "b"),
            ("bg", 2, "a"),
        ]
        assert [one.request_id for one in supervisor.waiting(owner="a")] == ["bg"]
        assert shown[1].deadline_in_s is not None
        assert 0 < shown[1].deadline_in_s < 15
        assert supervisor.status()[0].waiting_background == 1
        assert supervisor.queue_counts().waiting == {Priority.REALTIME: 1, Priority.BACKGROUND: 1}
        queue.let_go()
    assert supervisor.waiting() == []


def test_a_deadline_in_line_is_answered_in_time_and_the_runner_never_hears_of_it(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.005)), queue=ONE)
    with line(supervisor) as queue:
        asked_s = time.monotonic()
        turn = Turn(deadline_s=0.3)
        late = queue.join("late", turn=turn)
        with pytest.raises(DeadlineExceeded, match=r"its deadline of 0.3 s passed while the request waited"):
            late.result(10)
        took_s = time.monotonic() - asked_s
    assert queue.served == []
    assert 0.3 <= took_s < 3.0
    assert turn.waited_s is not None
    assert supervisor.queue_counts().expired[Priority.REALTIME] == 1
    print(f"a deadline of 0.3 s was answered after {took_s:.3f} s")


def test_a_request_may_wait_for_longer_than_the_patience_when_its_deadline_says_so(
    supervise: MakeSupervisor, model: Model
) -> None:
    policy = QueuePolicy(max_running=1, patience_s=0.2)
    supervisor = supervise(spec(model(step_s=0.01)), queue=policy)
    supervisor.call("m", Tokenize(id=0, text="load"), asker=Asker(owner="a", turn=Turn(deadline_s=10.0)))
    first = supervisor.generate("m", ask(LONG), asker=Asker(owner="first"))
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(
            lambda: supervisor.generate(
                "m", ask(1), asker=Asker(owner="a", turn=Turn(deadline_s=10.0))
            ).close()
        )
        eventually(lambda: waiting(supervisor) == 1)
        time.sleep(0.4)
        assert not patient.done()
        first.close()
        patient.result(10)


def test_places_are_counted_over_all_models_and_a_key_with_few_takes_one_of_a_key_with_many(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.005)), spec(model(step_s=0.005), name="n"), queue=ONE)
    other = supervisor.generate("n", ask(LONG), asker=Asker(owner="first"))
    with line(supervisor) as queue:
        many = [queue.join(f"a{number}") for number in range(4)]
        refused = queue.join("a-elsewhere", model="n", owner="b")
        with pytest.raises(Overloaded, match="go first") as displaced:
            many[3].result(10)
        assert displaced.value.fields["is_displaced"] is True
        assert not refused.done()
        with pytest.raises(Overloaded, match="4 of 4"):
            supervisor.generate("m", ask(), asker=Asker(owner="a"))
        assert supervisor.queue_counts().displaced[Priority.REALTIME] == 1
        queue.let_go()
        other.close()
        refused.result(10)


def test_held_background_waits_beside_free_leases_and_begins_when_it_is_let_go(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model()))
    supervisor.call("m", Tokenize(id=0, text="load"), asker=Asker(owner="a"))
    supervisor.cool(CoolingOrder(hold_background=True))
    with ThreadPoolExecutor(1) as pool:
        turn = Turn(priority=Priority.BACKGROUND)
        held = pool.submit(
            lambda: supervisor.generate("m", ask(1), asker=Asker(owner="a", turn=turn)).close()
        )
        eventually(lambda: waiting(supervisor) == 1)
        supervisor.generate("m", ask(1), asker=Asker(owner="b")).close()
        assert supervisor.queue_counts().is_background_held
        assert not held.done()
        assert supervisor.waiting()[0].standing.eta_s is None
        supervisor.cool(CoolingOrder())
        held.result(10)


def test_one_who_begins_hears_where_he_stands_until_he_is_accepted(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.005)), queue=ONE)
    with line(supervisor) as queue:
        queue.join("before")
        pending = supervisor.begin("m", ask(1), asker=Asker(owner="b"))
        eventually(lambda: pending.next(0.01) is None and pending.standing() is not None)
        standing = pending.standing()
        assert standing is not None
        assert standing.position == 2
        queue.let_go()
        looks = (pending.next(0.05) for _ in range(200))
        generation = next(found for found in looks if found is not None)
        assert pending.standing() is None
        assert len(deltas_of(generation)) == 1
    eventually(lambda: supervisor.status()[0].running == 0)


def test_one_who_begins_and_leaves_is_out_of_the_line(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.005)), queue=ONE)
    with line(supervisor):
        pending = supervisor.begin("m", ask(1), asker=Asker(owner="b"))
        eventually(lambda: waiting(supervisor) == 1)
        pending.close()
        pending.close()
        eventually(lambda: waiting(supervisor) == 0)


def test_in_a_full_room_every_refusal_comes_within_50_ms(supervise: MakeSupervisor, model: Model) -> None:
    policy = QueuePolicy(max_running=1, max_waiting=100, patience_s=20.0)
    supervisor = supervise(spec(model(step_s=0.005)), queue=policy)
    first = supervisor.generate("m", ask(LONG), asker=Asker(owner="first"))
    pending = [supervisor.begin("m", ask(1), asker=Asker(owner="a")) for _ in range(100)]
    eventually(lambda: waiting(supervisor) == 100)
    took_s = []
    for _ in range(50):
        asked_s = time.monotonic()
        with pytest.raises(Overloaded, match="100 of 100") as refusal:
            supervisor.generate("m", ask(), asker=Asker(owner="a"))
        took_s.append(time.monotonic() - asked_s)
        assert refusal.value.retry_after_s > 1.0
    for one in pending:
        one.close()
    first.close()
    took_s.sort()
    print(f"refused with 100 waiting: median {1000 * took_s[25]:.2f} ms, worst {1000 * took_s[-1]:.2f} ms")
    assert took_s[-5] < 0.05
