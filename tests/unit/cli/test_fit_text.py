"""How `outpost fit` tells an answer, whoever gave it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.cli import fit, fit_text
from appliance.cli.exits import Exit, Failure
from appliance.errors import InsufficientMemory
from appliance.planner.choice import Chosen, Wait
from appliance.planner.facts import Concession, Ladder
from appliance.planner.fit_answer import FitAnswer, InMemory, fit_object
from tests.fakes.plain_budget import plain_budget, rung_of

RUNG = rung_of(1 << 30)
REFUSED = InsufficientMemory(model="m", needed_bytes=9 << 30, available_bytes=1 << 30, min_ctx=512)


def told_of(outcome: Chosen | Wait | InsufficientMemory, **more: Any) -> dict[str, Any]:
    given = FitAnswer(
        model="m",
        ladder=Ladder(model="m", min_ctx=512, rungs=(RUNG,)),
        outcome=outcome,
        origin="a dry run",
        **{"budget": plain_budget(2 << 30), **more},
    )
    error = {"message": REFUSED.message, "code": "insufficient_memory"}
    plain: dict[str, Any] = json.loads(json.dumps(fit_object(given, error, took_s=0.01)))
    return plain


def lines_of(told: dict[str, Any]) -> list[str]:
    return [" ".join(line.split()) for line in fit_text.shown(told, where="here").splitlines()]


@pytest.mark.parametrize(
    ("outcome", "headline", "row"),
    [
        (Chosen(rung=RUNG), "m fits here", "gives up nothing"),
        (
            Chosen(rung=RUNG, evict=("a", "b")),
            "m fits here once idle models have gone",
            "puts out a, b (idle)",
        ),
        (Wait(rung=RUNG, busy=("c",)), "m fits here once busy models have ended", "waits for c (busy)"),
        (REFUSED, "m does not fit; the least that is asked for here", "total 1.1 GB"),
    ],
)
def test_who_goes_and_who_is_waited_for_is_told(
    outcome: Chosen | Wait | InsufficientMemory, headline: str, row: str
) -> None:
    lines = lines_of(told_of(outcome))
    assert lines[0] == headline
    assert row in lines


def test_what_it_holds_now_and_what_others_were_promised_is_told() -> None:
    there = InMemory(state="ready", rung=RUNG)
    lines = lines_of(told_of(Chosen(rung=RUNG), in_memory=there, owed_bytes=10**8, freed_bytes=5 * 10**8))
    assert "now ready with 4096 tokens x 1 at once, f16" in lines
    (budget,) = (line for line in lines if line.startswith("budget"))
    assert budget.startswith("budget 2.5 GB MemAvailable 2.1 GB")
    assert "less 100 MB promised to models in memory; with 500 MB that it or an ending model holds" in budget
    starting = lines_of(told_of(Chosen(rung=RUNG), in_memory=InMemory(state="starting", rung=None)))
    assert "now starting" in starting


def test_where_the_kernel_tells_nothing_that_is_told() -> None:
    assert any(
        "the kernel does not tell" in line for line in lines_of(told_of(Chosen(rung=RUNG), budget=None))
    )


def test_every_concession_has_its_words() -> None:
    assert set(fit_text._GIVEN_UP) == set(Concession)


@pytest.mark.parametrize(
    "spoil",
    [
        {},
        {"plan": 5},
        {"plan": {"conceded": [{}]}},
        {"took_s": "soon"},
        {"budget": []},
        {"evicts": 5},
        {"evicts": [1]},
        {"notes": None},
        {"in_memory": "yes"},
        {"tokens_per_s_bound": "fast"},
    ],
)
def test_what_no_outpost_answers_is_one_sentence(spoil: dict[str, Any]) -> None:
    told = told_of(Chosen(rung=RUNG)) | spoil if spoil else {}
    with pytest.raises(Failure, match="its answer is none that this version understands") as caught:
        fit._text(told, "at http://x")
    assert caught.value.exit_code == Exit.PROTOCOL
