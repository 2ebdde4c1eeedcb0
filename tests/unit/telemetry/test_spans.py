"""A request as spans: its parts in order, counts, and no word of anybody's."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from appliance.telemetry.observers import Observers
from appliance.telemetry.spans import NS, Parent, parent_of, spans_of
from appliance.wire.messages import Accepted, Usage
from tests.fakes import full_metrics

END = 1_000 * NS


@dataclass
class Traced(full_metrics.Ended):
    request_id: str = "req_1"
    traceparent: str | None = None
    is_stream: bool = False
    finish_reason: str | None = None


CHAT = Traced(
    model="m",
    accepted=Accepted(id=1, prompt_tokens=10, cached_tokens=4),
    usage=Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=3),
    queued_s=0.5,
    first_token_s=1.5,
    total_s=4.0,
    is_stream=True,
    finish_reason="stop",
)


def test_a_chat_is_queue_prefill_and_decode_without_gaps() -> None:
    request, *parts = spans_of(CHAT, END)
    assert (request.name, request.begun_ns, request.ended_ns) == (
        "POST /v1/chat/completions",
        END - 4 * NS,
        END,
    )
    assert [
        (part.name, part.begun_ns - request.begun_ns, part.ended_ns - request.begun_ns) for part in parts
    ] == [
        ("queue", 0, NS // 2),
        ("prefill", NS // 2, NS * 3 // 2),
        ("decode", NS * 3 // 2, 4 * NS),
    ]


def test_counts_stand_where_the_conventions_have_them() -> None:
    request, queue, prefill, decode = spans_of(CHAT, END)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "outpost.request_id": "req_1",
        "outpost.stream": True,
        "gen_ai.request.model": "m",
        "outpost.finish_reason": "stop",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "outpost.usage.cached_tokens": 4,
    }
    assert queue.attributes == {"outpost.priority": "realtime"}
    assert prefill.attributes == {"gen_ai.usage.input_tokens": 10, "outpost.usage.cached_tokens": 4}
    assert decode.attributes == {"gen_ai.usage.output_tokens": 3}
    assert request.error is None


def test_who_was_refused_has_the_parts_that_he_came_to_and_the_code() -> None:
    (refused,) = spans_of(Traced(status=404, error_code="model_not_found", model="made up"), END)
    assert refused.error == "model_not_found"
    assert "gen_ai.request.model" not in refused.attributes
    accepted = Traced(status=200, error_code="runner_died", queued_s=0.001, model="m")
    assert [span.name for span in spans_of(accepted, END)] == ["POST /v1/chat/completions", "queue"]


def test_what_has_no_route_makes_no_names() -> None:
    (span,) = spans_of(Traced(method="BREW" * 1000, route=None, status=404), END)
    assert span.name == "HTTP unmatched"
    assert len(str(span.attributes["http.request.method"])) == 256


@pytest.mark.parametrize(
    ("told", "parent"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", Parent(trace_id=int("ab" * 16, 16), span_id=int("cd" * 8, 16))),
        (f"00-{'0' * 32}-{'cd' * 8}-01", None),
        (f"00-{'ab' * 16}-{'0' * 16}-01", None),
        (f"01-{'ab' * 16}-{'cd' * 8}-01", None),
        (f"00-{'AB' * 16}-{'cd' * 8}-01", None),
        (f"00-{'ab' * 16}-{'cd' * 8}-01\n", None),
        ("x" * 100_000, None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_sound_parent_is_one(told: str | None, parent: Parent | None) -> None:
    assert parent_of(told) == parent


def test_several_observers_hear_the_same() -> None:
    one, other = full_metrics.full_metrics(models=0), full_metrics.full_metrics(models=0)
    both = Observers([one, other])
    both.exchange_ended(CHAT)
    with both.waiting():
        pages = [one.render(), other.render()]
    for page in pages:
        assert "outpost_requests_waiting 1\n" in page
        assert 'outpost_prompt_tokens_total{model="m"} 10\n' in page
