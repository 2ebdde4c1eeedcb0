"""What of a runner's frames counts as the speed of a request."""

from __future__ import annotations

from appliance.supervisor.baseline import Observation
from appliance.supervisor.tempo import Tempo
from appliance.wire.messages import Delta, FinishReason, Progress, SetLimits, Step, Usage


def step(*ids: int, last: int | None = None, prefilling: int | None = None) -> Step:
    usage = Usage(prompt_tokens=10, cached_tokens=0, completion_tokens=20)
    deltas = [
        Delta(id=one, choice=0, text="x", tokens=1)
        if one != last
        else Delta(id=one, choice=0, text="x", tokens=1, finish_reason=FinishReason.LENGTH, usage=usage)
        for one in ids
    ]
    progress = [Progress(prefilling, 1, 2)] if prefilling is not None else []
    return Step(deltas=deltas, progress=progress)


def run(tempo: Tempo, *ids: int, steps: int = 20, step_s: float = 0.5, from_s: float = 0.0) -> float:
    for number in range(steps):
        assert tempo.step(step(*ids), from_s + number * step_s) == []
    return from_s + steps * step_s


def test_a_request_alone_has_the_rate_of_its_steps() -> None:
    tempo = Tempo()
    tempo.accept(1, 0.0)
    end_s = run(tempo, 1)
    assert tempo.step(step(1, last=1), end_s) == [Observation(batch=1.0, depth_tokens=30, steps_per_s=2.0)]


def test_of_several_the_batch_is_told_and_the_rate_is_that_of_one() -> None:
    tempo = Tempo()
    for one in (1, 2, 3, 4):
        tempo.accept(one, 0.0)
    end_s = run(tempo, 1, 2, 3, 4)
    [seen] = tempo.step(step(1, 2, 3, 4, last=2), end_s)
    assert (seen.batch, seen.steps_per_s) == (4.0, 2.0)


def test_the_prefill_of_another_does_not_count() -> None:
    """It takes 60 s between two tokens of the first, and tells of itself only now and then."""
    tempo = Tempo()
    tempo.accept(1, 0.0)
    end_s = run(tempo, 1)
    tempo.accept(2, end_s)
    tempo.step(step(1, prefilling=2), end_s + 20)
    tempo.step(step(1), end_s + 40)
    tempo.step(step(1, 2), end_s + 60)
    tempo.step(step(1, 2, last=2), end_s + 60.5)
    [seen] = tempo.step(step(1, last=1), end_s + 61)
    assert seen.steps_per_s == 2.0


def test_the_pause_between_two_requests_does_not_count() -> None:
    tempo = Tempo()
    tempo.accept(1, 0.0)
    end_s = run(tempo, 1)
    tempo.step(step(1, last=1), end_s)
    tempo.accept(2, end_s + 3600)
    later_s = run(tempo, 2, from_s=end_s + 3600)
    [seen] = tempo.step(step(2, last=2), later_s)
    assert seen.steps_per_s == 2.0


def test_a_request_that_was_paced_says_so_also_when_the_pace_is_over() -> None:
    tempo = Tempo()
    tempo.accept(1, 0.0)
    tempo.limit(SetLimits(duty=0.5), 1.0)
    tempo.limit(SetLimits(), 2.0)
    end_s = run(tempo, 1, from_s=3.0)
    [seen] = tempo.step(step(1, last=1), end_s)
    assert seen.is_paced
    tempo.accept(2, end_s)
    later_s = run(tempo, 2, from_s=end_s)
    [seen] = tempo.step(step(2, last=2), later_s)
    assert not seen.is_paced


def test_of_a_few_tokens_nothing_is_told() -> None:
    tempo = Tempo()
    tempo.accept(1, 0.0)
    end_s = run(tempo, 1, steps=5)
    assert tempo.step(step(1, last=1), end_s) == []


def test_a_request_that_failed_leaves_nothing_behind() -> None:
    tempo = Tempo()
    tempo.accept(1, 0.0)
    tempo.step(step(prefilling=1), 0.5)
    tempo.forget(1)
    tempo.accept(2, 1.0)
    end_s = run(tempo, 2, from_s=1.0)
    assert [seen.steps_per_s for seen in tempo.step(step(2, last=2), end_s)] == [2.0]
