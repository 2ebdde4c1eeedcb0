"""Questions how a model would be placed: answered as the request would be, and nothing is changed."""

from __future__ import annotations

import pytest

from appliance.errors import InsufficientMemory
from appliance.planner.choice import Chosen, Wait
from tests.unit.supervisor.residency_scene import GIB, Board, rung


def outcome(board: Board, name: str, now_s: float) -> Chosen | Wait | InsufficientMemory:
    """Of a question, which changes nothing."""
    before = (board.launched, list(board.effects.stopped), [board.state(one) for one in board.desks])
    told = board.residency.outlook(board.desks[name], board.ladders[name], now_s).outcome
    assert before == (board.launched, board.effects.stopped, [board.state(one) for one in board.desks])
    assert board.residency.wake_at_s is None
    return told


def test_a_question_is_answered_as_the_request_would_be() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.model("small", rung(1))
    board.model("big", rung(9), rung(5, n_ctx_seq=512))
    fits = outcome(board, "b", 0.0)
    assert isinstance(fits, Chosen)
    assert fits.evict == ()
    board.serve("a", 0.0)
    evicts = outcome(board, "b", 10.0)
    assert isinstance(evicts, Chosen)
    assert evicts.evict == ("a",)
    assert outcome(board, "small", 10.0) == Chosen(rung=board.ladders["small"].rungs[0])
    board.ask("a", 11.0)
    waits = outcome(board, "b", 12.0)
    assert waits == Wait(rung=board.ladders["b"].rungs[0], busy=("a",))
    refused = outcome(board, "big", 12.0)
    assert isinstance(refused, InsufficientMemory)
    assert (refused.fields["needed_bytes"], refused.fields["available_bytes"]) == (5 * GIB, 4 * GIB)


def test_a_pinned_model_stands_in_the_way_of_a_question_too() -> None:
    board = Board(4)
    board.model("a", rung(3), pin=True)
    board.model("b", rung(3))
    board.serve("a", 0.0)
    refused = outcome(board, "b", 1000.0)
    assert isinstance(refused, InsufficientMemory)
    assert refused.fields["pinned"] == ["a"]


@pytest.mark.parametrize("lazy", [False, True], ids=["touched", "promised"])
def test_what_a_model_holds_itself_counts_as_free_for_it_and_not_for_others(lazy: bool) -> None:
    board = Board(4)
    board.memory.lazy = lazy
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.serve("a", 0.0)
    own = board.residency.outlook(board.desks["a"], board.ladders["a"], 10.0)
    assert own.outcome == Chosen(rung=board.ladders["a"].rungs[0])
    assert (own.freed_bytes, own.owed_bytes) == (0 if lazy else 3 * GIB, 0)
    other = board.residency.outlook(board.desks["b"], board.ladders["b"], 10.0)
    assert (other.freed_bytes, other.owed_bytes) == (0, 3 * GIB if lazy else 0)


def test_what_ends_is_reckoned_as_gone() -> None:
    board = Board(4)
    board.model("a", rung(3))
    board.model("b", rung(3))
    board.model("c", rung(3), rung(1, n_ctx_seq=1024))
    board.serve("a", 0.0)
    board.desks["a"].evict()
    told = board.residency.outlook(board.desks["c"], board.ladders["c"], 10.0)
    assert told.outcome == Chosen(rung=board.ladders["c"].rungs[0])
    assert told.freed_bytes == 3 * GIB


def test_where_the_kernel_tells_nothing_a_question_is_told_that_everything_is_let_in() -> None:
    board = Board(1)
    board.memory.is_known = False
    board.model("a", rung(3))
    told = board.residency.outlook(board.desks["a"], board.ladders["a"], 0.0)
    assert (told.outcome, told.budget) == (Chosen(rung=board.ladders["a"].rungs[0]), None)
    assert board.residency.budgets_bytes(board.desks["a"]) == ()


def test_sizes_are_wanted_exactly_for_what_is_free_and_for_what_idle_ones_would_give_back() -> None:
    board = Board(8)
    for name in ("a", "pinned"):
        board.model(name, rung(2), pin=name == "pinned")
        board.serve(name, 0.0)
    board.model("b", rung(3))
    assert board.residency.budgets_bytes(board.desks["b"]) == (4 * GIB, 6 * GIB)
    assert board.residency.budgets_bytes(board.desks["a"]) == (6 * GIB, 6 * GIB)
