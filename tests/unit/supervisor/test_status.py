"""What is shown of a model's placement."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from appliance.planner.facts import Conceded, Concession
from appliance.supervisor.status import given_up
from tests.unit.supervisor.desk_scene import FACTS
from tests.unit.supervisor.residency_scene import rung

CONTEXT = Conceded(what=Concession.CONTEXT, wanted="4096", got="2048")
PARALLEL = Conceded(what=Concession.PARALLEL, wanted="64", got="4")
LESS = replace(rung(1), conceded=(PARALLEL, CONTEXT))


def test_what_memory_took_is_given_up() -> None:
    assert given_up(LESS, msgspec.structs.replace(FACTS, n_ctx_train=8192)) == (PARALLEL, CONTEXT)
    assert given_up(LESS, None) == (PARALLEL, CONTEXT)


def test_a_context_that_the_model_was_not_made_for_is_not() -> None:
    assert given_up(LESS, msgspec.structs.replace(FACTS, n_ctx_train=2048)) == (PARALLEL,)


def test_without_a_plan_nothing_is() -> None:
    assert given_up(None, FACTS) == ()
