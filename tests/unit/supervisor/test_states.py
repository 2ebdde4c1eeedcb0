from __future__ import annotations

import pytest

from appliance.supervisor.states import IllegalTransition, RunnerState, advance

LEGAL = {
    ("stopped", "starting"),
    ("starting", "ready"),
    ("starting", "stopping"),
    ("starting", "failed"),
    ("starting", "stopped"),
    ("ready", "draining"),
    ("ready", "stopping"),
    ("ready", "failed"),
    ("draining", "stopping"),
    ("draining", "failed"),
    ("stopping", "stopped"),
    ("failed", "starting"),
    ("failed", "stopped"),
}


@pytest.mark.parametrize("old", list(RunnerState))
@pytest.mark.parametrize("new", list(RunnerState))
def test_only_the_ways_of_the_table_are_open(old: RunnerState, new: RunnerState) -> None:
    if (old, new) in LEGAL:
        assert advance(old, new) is new
    else:
        with pytest.raises(IllegalTransition, match=f"from {old} to {new}"):
            advance(old, new)
