"""Heat at the door: the refusal, and a smaller sibling that answers."""

from __future__ import annotations

from appliance.errors import Throttled
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.unit.api.door import Door, refusal


def test_a_board_that_is_too_hot_answers_503_with_the_time_to_come_back() -> None:
    hot = Throttled(reason="cpu is 0.2 K below its limit", retry_after_s=41.2)
    answer = Door(FakeInference(refuse=hot)).chat()
    assert refusal(answer) == (503, None, "thermal_throttle")
    assert answer.headers["retry-after"] == "42"
    assert answer.json["error"]["message"] == (
        "this Outpost cools down and takes no new request: cpu is 0.2 K below its limit; retry in 41 s"
    )


def test_a_sibling_that_answers_is_named_in_a_warning() -> None:
    answer = Door(FakeInference(stand_ins={MODEL: MODEL})).chat()
    assert answer.status_code == 200
    assert answer.headers["x-outpost-warning"] == f"it is too hot for {MODEL}: answered by {MODEL}"


def test_without_heat_nothing_is_said() -> None:
    assert "x-outpost-warning" not in Door().chat().headers
