"""The line in front of one model, as its desk serves it."""

from __future__ import annotations

from typing import Any

from appliance.errors import DeadlineExceeded, Overloaded
from appliance.supervisor.effects import Waiter
from appliance.supervisor.turn import Priority, Standing
from appliance.supervisor.waiting_room import WaitingRoom
from tests.unit.supervisor.desk_scene import Scene


def busy(**told: Any) -> Scene:
    """One lease, and it is taken."""
    scene = Scene(running=1, **told)
    scene.ask()
    scene.load()
    return scene


def test_a_realtime_request_goes_before_background_but_interrupts_nobody() -> None:
    scene = busy(waiting=9)
    running = next(iter(scene.desk.leases))
    background = scene.ask(1.0, priority=Priority.BACKGROUND)
    realtime = scene.ask(2.0, owner="b")
    assert scene.desk.leases == {running}
    scene.desk.release(running, 3.0, succeeded=True)
    assert (background.answers, realtime.answers) == ([], ["r1"])


def test_who_waits_hears_his_place_and_when_his_turn_may_come() -> None:
    scene = busy(waiting=9)
    first, second = scene.ask(), scene.ask()
    assert first.first_standing == Standing(position=1, eta_s=5.0)
    assert second.first_standing == Standing(position=2, eta_s=10.0)
    scene.desk.release(next(iter(scene.desk.leases)), 8.0, succeeded=True)
    scene.desk.waiting.tell(8.0)
    assert second.standing == Standing(position=1, eta_s=8.0)
    assert second.first_standing == Standing(position=2, eta_s=10.0)


def test_who_does_not_wait_hears_of_no_place() -> None:
    scene = Scene()
    scene.ask()
    scene.load()
    assert scene.ask().first_standing is None


def test_a_deadline_that_passes_in_the_queue_is_answered_and_never_begun() -> None:
    scene = busy(waiting=9)
    late = scene.ask(1.0, deadline_s=5.0)
    assert scene.desk.waiting.next_deadline_s == 6.0
    scene.desk.tick(5.9)
    assert late.answers == []
    changes = scene.desk.changes
    scene.desk.tick(6.0)
    assert isinstance(late.error, DeadlineExceeded)
    assert late.error.fields == {"limit_s": 5.0, "retry_after_s": 5.0, "is_begun": False}
    assert scene.desk.changes > changes
    assert scene.desk.waiting.next_deadline_s is None


def test_a_lease_that_comes_free_after_the_deadline_is_not_given_to_who_is_late() -> None:
    scene = busy(waiting=9)
    late, patient = scene.ask(0.0, deadline_s=5.0), scene.ask(0.0)
    scene.desk.release(next(iter(scene.desk.leases)), 5.0, succeeded=True)
    assert isinstance(late.error, DeadlineExceeded)
    assert patient.answers == ["r1"]


def test_background_that_is_held_waits_beside_a_free_lease_and_begins_when_it_is_let_go() -> None:
    room: WaitingRoom[Waiter[str]] = WaitingRoom(limit=9)
    scene = Scene(room=room)
    scene.ask()
    scene.load()
    room.is_background_held = True
    background = scene.ask(1.0, priority=Priority.BACKGROUND)
    realtime = scene.ask(100.0)
    assert (background.answers, realtime.answers) == ([], ["r1"])
    assert background.standing == Standing(position=1, eta_s=None)
    scene.desk.release(realtime, 101.0, succeeded=True)
    assert background.answers == []
    room.is_background_held = False
    scene.desk.look_again(102.0)
    assert background.answers == ["r1"]


def test_the_places_to_wait_are_one_bound_over_two_models() -> None:
    room: WaitingRoom[Waiter[str]] = WaitingRoom(limit=2)
    one, two = busy(room=room), busy(room=room)
    assert [one.ask().answers, two.ask().answers] == [[], []]
    refused = [one.ask(), two.ask()]
    assert [ticket.error.fields["limit"] for ticket in refused] == [2, 2]


def test_a_newcomer_takes_the_newest_place_of_an_owner_who_has_many() -> None:
    scene = busy(waiting=3)
    many = [scene.ask() for _ in range(3)]
    newcomer = scene.ask(owner="b")
    assert [len(ticket.answers) for ticket in many] == [0, 0, 1]
    assert isinstance(many[2].error, Overloaded)
    assert many[2].error.fields["is_displaced"] is True
    assert newcomer.answers == []
    assert isinstance(scene.ask(owner="b").error, Overloaded)  # two and one: nobody has two more


def test_who_waits_for_a_replaced_model_keeps_his_age() -> None:
    scene = busy(waiting=9)
    ticket = scene.ask(1.0, deadline_s=10.0)
    (handed_back,) = scene.desk.retire(5.0)
    other = Scene(waiting=9)
    other.desk.acquire(handed_back, 5.0)
    assert ticket.arrived_s == 1.0
    assert other.desk.waiting.next_deadline_s == 11.0
