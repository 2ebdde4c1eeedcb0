"""Who is in memory: placements, evictions, turns and their limits, without a process, thread or clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.errors import InsufficientMemory
from appliance.supervisor.policy import ResidencyPolicy
from tests.unit.supervisor.residency_scene import GIB, Board, rung


def test_what_fits_is_launched_at_once_with_its_first_rung() -> None:
    board = Board(4)
    board.model("a", rung(3), rung(1, n_ctx_seq=1024))
    board.ask("a", 0.0)
    assert board.memory.launched == [("a", 4096)]


def test_an_idle_model_goes_for_another_and_comes_back_when_it_is_asked_again() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.serve("a", 0.0)
    waiting = board.ask("b", 10.0)
    assert (board.state("a"), board.launched, waiting.answers) == ("stopping", ["a"], [])
    board.gone("a", 11.0)
    assert board.launched == ["a", "b"]
    board.ready("b", 12.0)
    assert waiting.answers == ["b"]
    board.desks["b"].release(waiting, 13.0, succeeded=True)
    board.ask("a", 20.0)
    board.gone("b", 21.0)
    assert board.launched == ["a", "b", "a"]
    assert board.residency.evictions == 2


def test_while_a_process_ends_nobody_takes_a_lesser_placement_that_would_fit_already() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3), rung(1, n_ctx_seq=1024))
    board.serve("a", 0.0)
    board.ask("b", 10.0)
    board.memory.touched["a"] = 2.0
    board.residency.tick(10.5)
    assert board.launched == ["a"]
    board.gone("a", 11.0)
    assert board.memory.launched[-1] == ("b", 4096)


def test_a_busy_model_is_never_put_out_and_a_lesser_placement_is_taken_beside_it() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3), rung(1, n_ctx_seq=1024))
    board.ask("a", 0.0)
    board.ready("a", 1.0)
    board.ask("b", 2.0)
    assert board.memory.launched == [("a", 4096), ("b", 1024)]
    assert board.effects.stopped == []


def test_who_waits_for_a_busy_model_gets_its_turn_when_that_takes_too_long() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    running = board.ask("a", 0.0)
    board.ready("a", 0.0)
    board.ask("b", 1.0)
    board.residency.tick(5.9)
    more = board.ask("a", 5.9)
    assert more.answers == ["a"]
    board.residency.tick(6.0)
    late = board.ask("a", 6.1)
    assert late.answers == []
    board.desks["a"].release(running, 7.0, succeeded=True)
    assert board.effects.stopped == []
    board.desks["a"].release(more, 8.0, succeeded=True)
    assert board.effects.stopped == [("a", None)]
    board.gone("a", 9.0)
    assert board.launched == ["a", "b"]
    assert (board.state("b"), board.state("a")) == ("starting", "starting")


def test_two_models_that_alternate_under_memory_for_one_both_get_all_their_answers() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    tickets = []
    now_s = 0.0
    for turn in range(20):
        name, other = ("a", "b") if turn % 2 == 0 else ("b", "a")
        now_s += 10.0
        ticket = board.ask(name, now_s)
        if board.state(other) == "stopping":
            board.gone(other, now_s + 1)
        board.ready(name, now_s + 2)
        board.desks[name].release(ticket, now_s + 3, succeeded=True)
        tickets.append(ticket)
    assert [ticket.answers for ticket in tickets] == [["a"], ["b"]] * 10
    assert max(board.memory.touched.values()) <= 4


def test_what_was_promised_and_not_touched_yet_is_not_free() -> None:
    board = Board(4)
    board.memory.lazy = True
    board.model("a", rung(3))
    board.model("b", rung(2))
    board.ask("a", 0.0)
    board.ready("a", 1.0)
    waiting = board.ask("b", 2.0)
    assert (board.launched, waiting.answers) == (["a"], [])


def test_what_never_fits_is_refused_with_the_numbers_and_nobody_is_put_out_for_it() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("big", rung(9), rung(5, n_ctx_seq=512))
    board.serve("a", 0.0)
    ticket = board.ask("big", 1.0)
    assert isinstance(ticket.error, InsufficientMemory)
    assert ticket.error.fields["needed_bytes"] == 5 * GIB
    assert (board.state("big"), board.state("a"), board.effects.stopped) == ("stopped", "ready", [])


def test_a_pinned_model_stays_and_the_refusal_names_it() -> None:
    board = Board(4)
    board.model("a", rung(3), pin=True)
    board.model("b", rung(3))
    board.serve("a", 0.0)
    ticket = board.ask("b", 1000.0)
    assert isinstance(ticket.error, InsufficientMemory)
    assert ticket.error.fields["pinned"] == ["a"]
    assert board.effects.stopped == []


def test_a_model_that_has_just_come_serves_for_a_while_before_it_goes() -> None:
    board = Board(4, ResidencyPolicy(turn_s=5.0, min_residency_s=3.0, max_swaps_per_min=100))
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.serve("a", 10.0)
    board.ask("b", 10.5)
    board.residency.tick(12.9)
    assert board.state("a") == "ready"
    assert board.residency.wake_at_s is not None
    board.residency.tick(13.0)
    assert board.state("a") == "stopping"


def test_swaps_within_a_minute_are_bounded_and_the_next_one_waits() -> None:
    board = Board(4, ResidencyPolicy(turn_s=5.0, min_residency_s=0.0, max_swaps_per_min=2))
    for name in ("a", "b", "c"):
        board.model(name, rung(3))
    board.serve("a", 0.0)
    for name, before, now_s in (("b", "a", 10.0), ("c", "b", 20.0)):
        board.ask(name, now_s)
        board.gone(before, now_s)
        board.ready(name, now_s)
        board.desks[name].release(next(iter(board.desks[name].leases)), now_s, succeeded=True)
    board.ask("a", 30.0)
    board.residency.tick(69.9)
    assert board.state("c") == "ready"
    board.residency.tick(70.0)
    assert board.state("c") == "stopping"


def test_who_came_first_is_placed_first_even_if_a_smaller_one_would_fit() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("large", rung(3))
    board.model("small", rung(1))
    board.ask("a", 0.0)
    board.ready("a", 0.0)
    board.ask("large", 1.0)
    board.ask("small", 2.0)
    assert board.launched == ["a"]


def test_whom_the_waiting_room_puts_first_is_placed_first() -> None:
    board = Board(4)
    for name in ("a", "background", "realtime"):
        board.model(name, rung(3))
    running = board.ask("a", 0.0)
    board.ready("a", 0.0)
    board.ask("background", 1.0)
    board.ask("realtime", 2.0)
    board.first = ["realtime", "background"]
    board.desks["a"].release(running, 3.0, succeeded=True)
    board.residency.tick(3.0)
    board.gone("a", 4.0)
    assert board.launched == ["a", "realtime"]


def test_one_to_be_preloaded_takes_what_is_free_and_puts_nobody_out() -> None:
    board = Board(4)
    board.model("a", rung(3))
    desk = board.model("p", rung(3), preload=True)
    board.serve("a", 0.0)
    desk.begin(1.0)
    board.residency.ask(desk, board.ladders["p"], 1.0)
    assert (board.state("a"), board.state("p")) == ("ready", "stopped")
    assert desk.wake_at_s == 16.0


def test_who_goes_away_while_his_model_waits_for_memory_takes_it_out_of_the_line() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.ask("a", 0.0)
    board.ready("a", 0.0)
    leaving = board.ask("b", 1.0)
    board.desks["b"].release(leaving, 2.0, succeeded=False)
    board.residency.tick(2.0)
    assert (board.state("b"), board.residency.wake_at_s) == ("stopped", None)


def test_a_stop_of_the_daemon_takes_those_who_wait_for_memory_out_of_the_line() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.ask("a", 0.0)
    board.ready("a", 0.0)
    board.ask("b", 1.0)
    board.desks["b"].drain(2.0)
    board.residency.tick(2.0)
    assert board.desks["b"].is_over


def test_pressure_puts_out_the_one_that_is_missed_least_and_one_at_a_time() -> None:
    board = Board(9)
    for name, at_s in (("old", 0.0), ("new", 50.0)):
        board.model(name, rung(3))
        board.serve(name, at_s)
    board.model("pinned", rung(2), pin=True)
    board.serve("pinned", 1.0)
    assert board.residency.relieve(60.0) == "old"
    assert board.residency.relieve(60.1) is None
    board.gone("old", 61.0)
    assert board.residency.relieve(61.0) == "new"
    board.gone("new", 62.0)
    assert board.residency.relieve(62.0) is None


def test_pressure_never_puts_out_one_that_answers() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.ask("a", 0.0)
    board.ready("a", 0.0)
    assert board.residency.relieve(100.0) is None


def test_where_the_kernel_tells_nothing_everything_is_let_in() -> None:
    board = Board(1)
    board.memory.is_known = False
    board.model("a", rung(3))
    board.ask("a", 0.0)
    assert board.launched == ["a"]


@pytest.mark.parametrize("gib", [3.0, 4.0])
def test_a_model_of_another_name_is_not_its_own_victim(gib: float) -> None:
    board = Board(4)
    board.model("a", rung(gib))
    board.serve("a", 0.0)
    board.desks["a"].spec = replace(board.desks["a"].spec, keep_alive_s=1.0)
    ticket = board.ask("a", 5.0)
    assert ticket.answers == ["a"]
