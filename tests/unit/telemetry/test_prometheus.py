"""The page of metrics: right numbers, right form, no series made by clients."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from appliance.histogram import TOKEN_SECONDS, Histogram
from appliance.supervisor.turn import Priority, QueueCounts, Turn
from appliance.telemetry.families import Sample
from appliance.telemetry.model_labels import MOST_MODELS
from appliance.telemetry.prometheus import Prometheus
from appliance.telemetry.queue_metrics import queue_samples
from appliance.wire.messages import Accepted, Usage
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.unit.api.door import Door

LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (-?[0-9.e+-]+|\+Inf|NaN)')


@dataclass
class Ended:
    method: str = "POST"
    route: str | None = "/v1/chat/completions"
    status: int = 200
    model: str | None = "m"
    accepted: Accepted | None = None
    usage: Usage | None = None
    queued_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.02
    error_code: str | None = None
    token_gaps: Histogram | None = None
    turn: Turn = field(default_factory=Turn)


def test_a_request_is_counted_with_its_tokens_and_times() -> None:
    metrics = Prometheus(FakeInference())
    usage = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=3)
    accepted = Accepted(id=1, prompt_tokens=10, cached_tokens=4)
    metrics.exchange_ended(Ended(accepted=accepted, usage=usage, queued_s=0.01, first_token_s=0.3, total_s=2))
    page = metrics.render().splitlines()
    assert 'outpost_http_requests_total{method="POST",route="/v1/chat/completions",status="200"} 1' in page
    assert 'outpost_prompt_tokens_total{model="m"} 10' in page
    assert 'outpost_cached_prompt_tokens_total{model="m"} 4' in page
    assert 'outpost_generated_tokens_total{model="m"} 3' in page
    assert 'outpost_time_to_first_token_seconds_bucket{model="m",le="0.25"} 0' in page
    assert 'outpost_time_to_first_token_seconds_bucket{model="m",le="0.5"} 1' in page
    assert 'outpost_time_to_first_token_seconds_bucket{model="m",le="+Inf"} 1' in page
    assert 'outpost_queue_seconds_bucket{model="m",le="0.01"} 1' in page
    assert 'outpost_request_seconds_sum{route="/v1/chat/completions"} 2' in page
    assert 'outpost_request_seconds_count{route="/v1/chat/completions"} 1' in page


def test_the_wait_of_each_class_is_counted_also_of_those_who_were_sent_away() -> None:
    metrics = Prometheus(FakeInference())
    for priority, waited_s in ((Priority.REALTIME, 0.02), (Priority.BACKGROUND, 40.0)):
        turn = Turn(priority=priority)
        turn.waited_s = waited_s
        metrics.exchange_ended(Ended(status=503, turn=turn))
    metrics.exchange_ended(Ended())
    page = metrics.render().splitlines()
    assert 'outpost_queue_wait_seconds_bucket{priority="realtime",le="0.025"} 1' in page
    assert 'outpost_queue_wait_seconds_count{priority="realtime"} 1' in page
    assert 'outpost_queue_wait_seconds_sum{priority="background"} 40' in page


def test_the_waiting_room_is_told_by_class() -> None:
    counts = QueueCounts(
        waiting={Priority.REALTIME: 3, Priority.BACKGROUND: 1},
        is_background_held=True,
        expired={Priority.REALTIME: 0, Priority.BACKGROUND: 2},
        displaced={Priority.REALTIME: 5, Priority.BACKGROUND: 0},
    )
    page = Prometheus(FakeInference(), sources=[lambda: queue_samples(counts)]).render().splitlines()
    assert 'outpost_queue_waiting{priority="background"} 1' in page
    assert "outpost_queue_background_held 1" in page
    assert 'outpost_queue_expired_total{priority="background"} 2' in page
    assert 'outpost_queue_displaced_total{priority="realtime"} 5' in page
    assert page.count("# TYPE outpost_queue_expired_total counter") == 1


def test_names_that_a_client_made_up_are_no_labels() -> None:
    metrics = Prometheus(FakeInference())
    metrics.exchange_ended(Ended(method="BREW", route=None, status=404, model="made-up"))
    page = metrics.render()
    assert 'outpost_http_requests_total{method="other",route="unmatched",status="404"} 1' in page
    assert "made-up" not in page


def test_those_who_wait_are_counted_while_they_wait() -> None:
    metrics = Prometheus(FakeInference())
    with metrics.waiting():
        assert "outpost_requests_waiting 1" in metrics.render().splitlines()
    assert "outpost_requests_waiting 0" in metrics.render().splitlines()


def test_each_runner_is_in_one_state() -> None:
    page = Prometheus(FakeInference(state="starting")).render().splitlines()
    states = [line for line in page if line.startswith("outpost_runner_state{")]
    assert [line for line in states if line.endswith(" 1")] == [
        f'outpost_runner_state{{model="{MODEL}",state="starting"}} 1'
    ]
    assert len(states) == 6


def test_every_line_has_the_text_form_and_every_name_one_head() -> None:
    sources = [lambda: [Sample(name="x", value=float("nan"), labels=(("a", 'q"\\\n'),), help="h")]]
    metrics = Prometheus(FakeInference(), sources=sources)
    metrics.exchange_ended(Ended())
    page = metrics.render()
    assert page.endswith("\n")
    assert 'outpost_x{a="q\\"\\\\\\n"} NaN' in page
    lines = [line for line in page.splitlines() if "outpost_x{" not in line]
    assert all(line.startswith("# ") or LINE.fullmatch(line) for line in lines)
    heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))


def test_the_door_tells_it_what_happened() -> None:
    inference = FakeInference()
    metrics = Prometheus(inference)
    door = Door(inference, observer=metrics, render_metrics=metrics.render)
    door.chat()
    door.chat(stream=True)
    door.chat(model="nope")
    page = door.get("/metrics").text.splitlines()
    assert 'outpost_http_requests_total{method="POST",route="/v1/chat/completions",status="200"} 2' in page
    assert 'outpost_http_requests_total{method="POST",route="/v1/chat/completions",status="404"} 1' in page
    assert f'outpost_generated_tokens_total{{model="{MODEL}"}} 4' in page


def test_the_gaps_between_tokens_are_added_up_by_model() -> None:
    metrics = Prometheus(FakeInference())
    accepted = Accepted(id=1, prompt_tokens=10, cached_tokens=4)
    for gap_s in (0.04, 0.5):
        gaps = Histogram(TOKEN_SECONDS)
        gaps.observe(gap_s, 3)
        metrics.exchange_ended(Ended(accepted=accepted, token_gaps=gaps))
    page = metrics.render().splitlines()
    assert 'outpost_inter_token_seconds_bucket{model="m",le="0.03"} 0' in page
    assert 'outpost_inter_token_seconds_bucket{model="m",le="0.05"} 3' in page
    assert 'outpost_inter_token_seconds_bucket{model="m",le="0.5"} 6' in page
    assert 'outpost_inter_token_seconds_count{model="m"} 6' in page
    assert 'outpost_inter_token_seconds_sum{model="m"} 1.62' in page


def test_errors_are_counted_by_their_code() -> None:
    metrics = Prometheus(FakeInference())
    metrics.exchange_ended(Ended(status=429, error_code="rate_limit_exceeded"))
    metrics.exchange_ended(Ended(status=200, error_code="runner_died"))
    page = metrics.render().splitlines()
    assert 'outpost_http_errors_total{route="/v1/chat/completions",code="runner_died"} 1' in page
    assert 'outpost_http_errors_total{route="/v1/chat/completions",code="rate_limit_exceeded"} 1' in page


def test_prompts_are_hits_or_misses_of_the_prefix_cache() -> None:
    metrics = Prometheus(FakeInference())
    for cached in (0, 5, 7):
        usage = Usage(prompt_tokens=10, cached_tokens=cached, completion_tokens=3)
        metrics.exchange_ended(Ended(usage=usage))
    page = metrics.render().splitlines()
    assert 'outpost_prefix_lookups_total{model="m",result="hit"} 2' in page
    assert 'outpost_prefix_lookups_total{model="m",result="miss"} 1' in page


def test_models_beyond_the_bound_share_one_label() -> None:
    metrics = Prometheus(FakeInference())
    usage = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=1)
    for number in range(MOST_MODELS + 10):
        metrics.exchange_ended(Ended(model=f"m{number}", usage=usage, queued_s=0.1, first_token_s=0.1))
    metrics.exchange_ended(Ended(model="m0", usage=usage))
    page = metrics.render()
    assert page.count("\noutpost_prompt_tokens_total{") == MOST_MODELS + 1
    assert 'outpost_prompt_tokens_total{model="other"} 10\n' in page
    assert 'outpost_prompt_tokens_total{model="m0"} 2\n' in page


def test_a_stream_that_the_door_sends_is_measured_token_by_token() -> None:
    inference = FakeInference()
    metrics = Prometheus(inference)
    door = Door(inference, observer=metrics, render_metrics=metrics.render)
    door.chat(stream=True)
    door.chat()
    page = door.get("/metrics").text
    counts = re.findall(r"outpost_inter_token_seconds_count\{[^}]*\} (\d+)", page)
    generated = re.findall(r"outpost_generated_tokens_total\{[^}]*\} (\d+)", page)
    assert counts == [str(int(generated[0]) - 2)]  # of two answers, all tokens but the first
