"""How much room drafts have in a step."""

from __future__ import annotations

import pytest

from appliance.engine.cost import StepCost
from appliance.engine.drafting import Drafter
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
