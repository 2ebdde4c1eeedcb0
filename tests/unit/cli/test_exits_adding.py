"""One more next step for a failure that only one command can say more about."""

from __future__ import annotations

import pytest

from appliance.cli.exits import Exit, Failure, adding


def test_the_failure_that_is_meant_has_the_step_added_and_keeps_its_code() -> None:
    with pytest.raises(Failure) as caught, adding("name its file", to="model_not_found"):
        raise Failure(Exit.NO_INPUT, "no model 'x'", code="model_not_found")
    told = caught.value
    assert (told.exit_code, told.message, told.code) == (
        Exit.NO_INPUT,
        "no model 'x'; name its file",
        "model_not_found",
    )


def test_every_other_failure_is_left_as_it_is() -> None:
    failure = Failure(Exit.DATA, "broken", code="model_broken")
    with pytest.raises(Failure) as caught, adding("name its file", to="model_not_found"):
        raise failure
    assert caught.value is failure
