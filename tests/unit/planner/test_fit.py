from __future__ import annotations

import pytest

from appliance.errors import InvalidRequest
from appliance.planner import boards
from appliance.planner.budget import Reading, budget
from appliance.planner.facts import Accelerator, Concession
from appliance.planner.fit import Machine, Policy, fit, wished
from appliance.wire.messages import Placement
from tests.unit.cpu_time import least_cpu_s
from tests.unit.planner import golden

HEADER, *ROWS = golden.TABLE.read_text(encoding="utf-8").splitlines()
ORIN, LLAMA = "orin-nano-8gb", "llama-3.1-8b-q4_k_m"


@pytest.mark.parametrize("expected", ROWS, ids=lambda row: " ".join(row.split()[:4]))
def test_a_model_on_a_board_takes_the_rung_of_the_golden_table(expected: str) -> None:
    board, model, context, slots = _asked(expected)
    assert golden.row(board, model, (int(context), int(slots))) == expected


def _asked(row: str) -> tuple[str, str, str, str]:
    board, model, wish = row[:15].strip(), row[15:37].strip(), row[37:46]
    context, slots = wish.split("x")
    return board, model, context, slots


def test_the_golden_table_has_every_board_and_every_model() -> None:
    assert HEADER == golden.HEADER
    assert {_asked(row)[:2] for row in ROWS} == {
        (board, model) for board in boards.names() for model in golden.MODELS
    }


def test_a_model_too_large_for_an_orin_nano_gives_up_what_costs_least() -> None:
    given = golden.answer(ORIN, LLAMA, (32768, 4))
    assert given.rung is not None
    assert [(one.what, one.wanted, one.got) for one in given.rung.conceded] == [
        (Concession.PARALLEL, "4", "1"),
        (Concession.CONTEXT, "32768", "14336"),
        (Concession.CACHE_TYPE, "f16", "q8_0"),
    ]
    assert given.rung.footprint.total_bytes <= golden.machine(ORIN).budget.bytes


def test_one_that_cannot_fit_is_refused_with_the_numbers() -> None:
    given = golden.answer(ORIN, "mixtral-8x7b-q4_k_m", (4096, 1))
    assert given.rung is None
    assert given.refusal is not None
    assert given.refusal.fields == {
        "model": "mixtral-8x7b-q4_k_m",
        "needed_bytes": given.least.footprint.total_bytes,
        "available_bytes": golden.machine(ORIN).budget.bytes,
        "min_ctx": 2048,
        "largest_ctx": 0,
    }


def test_a_caller_who_needs_more_context_than_fits_is_told_how_much_would() -> None:
    given = golden.answer(ORIN, LLAMA, (32768, 4), min_ctx=32768)
    assert given.refusal is not None
    assert given.refusal.fields["largest_ctx"] == 16384
    assert "ask for no more than 16384 tokens of context" in given.refusal.message


def test_a_context_beyond_the_models_own_is_told_and_costs_nothing() -> None:
    given = golden.answer(ORIN, "smollm2-135m-q4_1", (32768, 1))
    assert given.rung is not None
    assert [(one.what, one.wanted, one.got, one.price) for one in given.rung.conceded] == [
        (Concession.CONTEXT, "32768", "8192", 1.0)
    ]
    with pytest.raises(InvalidRequest, match="made for 8192 tokens"):
        golden.answer(ORIN, "smollm2-135m-q4_1", (32768, 1), min_ctx=8193)


def test_the_speed_bound_of_an_8b_on_an_orin_nano_is_what_nvidia_comes_near_to() -> None:
    """NVIDIA reports 19.1 tokens a second for an INT4 Llama-3.1-8B on it."""
    bound = golden.answer(ORIN, LLAMA, (4096, 1)).tokens_per_s
    assert bound is not None
    assert 19.1 < bound < 23


def test_a_board_of_unknown_bandwidth_has_no_bound() -> None:
    machine = Machine(
        name=None,
        budget=budget(Reading(total_bytes=1 << 34, available_bytes=1 << 34)),
        accelerator=Accelerator.NONE,
    )
    given = fit(golden.subject(LLAMA, n_ctx=4096, n_parallel=1), machine, policy=Policy())
    assert given.tokens_per_s is None


@pytest.mark.parametrize(
    ("accelerator", "asked", "layers"),
    [
        (Accelerator.NONE, 20, 0),
        (Accelerator.UNIFIED, 0, -1),
        (Accelerator.DISCRETE, 20, 20),
    ],
)
def test_layers_go_to_the_gpu_where_there_is_one(accelerator: Accelerator, asked: int, layers: int) -> None:
    wish = Placement(n_ctx_seq=1, n_seq_max=1, kv_cells=0, n_gpu_layers=asked)
    assert wished(wish, accelerator).n_gpu_layers == layers


def test_a_question_is_answered_well_within_200_ms() -> None:
    """Processor time of this thread: others on the machine do not count."""
    asked, board = golden.subject(LLAMA, n_ctx=131_072, n_parallel=64), golden.machine(ORIN)
    assert least_cpu_s(lambda: fit(asked, board, policy=Policy())) < 0.2
