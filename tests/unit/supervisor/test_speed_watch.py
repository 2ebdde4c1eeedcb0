"""The baselines of all models, beyond the lives of their runners."""

from __future__ import annotations

from appliance.supervisor import speed_watch
from appliance.supervisor.baseline import Observation
from appliance.supervisor.speed_watch import SpeedWatch

KEY = ("/m.gguf", "cpu")


def seen(rate: float, times: int) -> list[Observation]:
    return [Observation(batch=1, depth_tokens=100, steps_per_s=rate)] * times


def test_a_slow_model_is_told_and_another_placement_of_it_is_not() -> None:
    watch = SpeedWatch()
    watch.observe(KEY, seen(20.0, 5), runner="m")
    assert watch.degraded(KEY) is None
    watch.observe(KEY, seen(5.0, 3), runner="m")
    assert watch.degraded(KEY) == "decodes 5.0 tokens/s per sequence, 25% of its usual 20.0"
    assert watch.degraded(("/m.gguf", "CUDA0")) is None
    watch.observe(KEY, seen(20.0, 3), runner="m")
    assert watch.degraded(KEY) is None


def test_who_was_asked_longest_ago_is_forgotten_first() -> None:
    watch = SpeedWatch()
    watch.observe(KEY, [*seen(20.0, 5), *seen(5.0, 3)], runner="m")
    for number in range(speed_watch._MOST - 1):
        watch.observe((str(number),), seen(20.0, 1), runner="other")
    assert watch.degraded(KEY) is not None
    watch.observe(("one more",), seen(20.0, 1), runner="other")
    assert watch.degraded(KEY) is None
