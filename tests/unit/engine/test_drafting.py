"""How much room drafts have in a step."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import pytest

from appliance.engine.cost import StepCost
from appliance.engine.drafting import Drafter
from appliance.engine.speculation import Wanted
from appliance.errors import EngineFault
from tests.fakes.engines import request

SLOW = StepCost(per_pass_s=0.1, per_token_s=0.01)
REPEATED = [1, 2, 3, 4, 5, 6, 7, 8] * 4


@pytest.mark.parametrize(("bound_s", "most"), [(60.0, 24), (0.25, 14), (0.1, 0)])
def test_a_draft_makes_no_step_longer_than_the_bound(bound_s: float, most: int) -> None:
    sequence = request(1, REPEATED, max_tokens=64, n_ctx_seq=128).sequences[0]
    sequence.n_computed = len(REPEATED)
    Drafter(None).draft([sequence], [sequence], SLOW, bound_s=bound_s)
    assert len(sequence.draft) <= most
    assert bool(sequence.draft) == bool(most)


class Failing:
    """A proposer whose model breaks when it is first asked."""

    def __init__(self) -> None:
        self.asked = 0

    def guess_s(self, n_sequences: int) -> float:
        return 1e-6 * n_sequences

    def propose(self, wanted: Sequence[Wanted], running: AbstractSet[int]) -> dict[int, list[int]]:
        self.asked += 1
        raise EngineFault(reason=f"broke over {len(wanted)} of {len(running)}")

    def set_threads(self, n_threads: int) -> None:
        raise AssertionError(n_threads)


def test_a_draft_model_that_fails_is_asked_no_more_and_the_answer_goes_on() -> None:
    failing = Failing()
    drafter = Drafter(failing)
    sequence = request(1, [1, 2, 3], max_tokens=32).sequences[0]
    sequence.n_computed = 3
    for _ in range(2):
        drafter.draft([sequence], [sequence], StepCost(per_pass_s=1.0, per_token_s=0.001))
    assert (failing.asked, sequence.draft) == (1, [])
    drafter.set_threads(2)
