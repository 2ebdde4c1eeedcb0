"""Traces: off and not loaded unless wanted; then to the one place that is configured, without a word of any
prompt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.api.exchange import Exchange
from appliance.config.tracing import TracingSettings
from appliance.daemon import tracing
from appliance.daemon.tracing import tracer_of
from appliance.errors import ConfigError
from appliance.telemetry.observers import Observers
from appliance.telemetry.otel import Tracer
from tests.daemon import Daemon
from tests.fakes.collector import Collector, Received
from tests.fakes.fake_inference import MODEL
from tests.fakes.full_metrics import full_metrics
from tests.integration.api_door import Door, chat_request, http, opened

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ROOT = Path(__file__).parents[2]
CANARY = "the canary sings in the coal mine"
PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


@contextmanager
def traced(endpoint: str, *, ratio: float = 1.0, timeout_s: float = 2.0) -> Iterator[tuple[Door, Tracer]]:
    tracer = tracer_of(TracingSettings(endpoint=endpoint, sampled_ratio=ratio, timeout_s=timeout_s))
    assert tracer is not None
    metrics = full_metrics(models=0)
    with opened(observer=Observers([metrics, tracer]), render_metrics=metrics.render) as door:
        yield door, tracer
    tracer.close()


def spans(collector: Collector) -> dict[str, Received]:
    return {span.name: span for span in collector.spans}


def test_a_streamed_chat_is_four_spans_with_counts_and_no_words() -> None:
    with Collector() as collector:
        with traced(collector.url) as (door, _):
            door.ask(chat_request(stream=True, messages=[{"role": "user", "content": CANARY}]))
        found = spans(collector)
        request = found["POST /v1/chat/completions"]
        assert set(found) == {request.name, "queue", "prefill", "decode"}
        for part in ("queue", "prefill", "decode"):
            assert (found[part].trace_id, found[part].parent_id) == (request.trace_id, request.span_id)
        assert request.parent_id == ""
        assert request.service == "outpost"
        assert request.attributes["gen_ai.request.model"] == MODEL
        assert found["decode"].attributes["gen_ai.usage.output_tokens"] == 2
        assert found["prefill"].attributes["gen_ai.usage.input_tokens"] == 7
        times = [found["queue"].begun_ns, found["queue"].ended_ns, found["prefill"].ended_ns]
        assert [*times, found["decode"].ended_ns] == sorted([*times, found["decode"].ended_ns])
        assert abs(request.ended_ns / 1e9 - time.time()) < 30
        assert CANARY.encode() not in b"".join(collector.raw)
        assert set(collector.asked) == {"POST /v1/traces"}


def test_a_request_is_part_of_its_callers_trace() -> None:
    with Collector() as collector:
        with traced(collector.url) as (door, _):
            door.ask(http("GET", "/v1/models", headers={"traceparent": PARENT, "Connection": "close"}))
            door.ask(http("GET", "/v1/queue", headers={"traceparent": "nonsense", "Connection": "close"}))
        found = spans(collector)
        assert found["GET /v1/models"].trace_id == "ab" * 16
        assert found["GET /v1/models"].parent_id == "cd" * 8
        assert found["GET /v1/queue"].parent_id == ""


def test_an_error_is_a_span_with_its_code() -> None:
    with Collector() as collector:
        with traced(collector.url) as (door, _):
            door.ask(chat_request(model="nope"))
        assert spans(collector)["POST /v1/chat/completions"].error == "model_not_found"


def test_of_a_share_of_none_nothing_is_sent() -> None:
    with Collector() as collector:
        with traced(collector.url, ratio=0.0) as (door, _):
            door.ask(chat_request())
        assert collector.asked == []


def test_a_redirect_leads_nowhere() -> None:
    with Collector() as elsewhere, Collector(status=307, location=elsewhere.url) as collector:
        with traced(collector.url) as (door, _):
            door.ask(chat_request())
        assert collector.asked == ["POST /v1/traces"]
        assert elsewhere.asked == []


def test_neither_a_proxy_nor_a_variable_of_the_environment_leads_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as elsewhere, Collector() as collector:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            monkeypatch.setenv(name, elsewhere.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", elsewhere.url)
        with traced(collector.url) as (door, _):
            door.ask(chat_request())
        assert collector.asked != []
        assert elsewhere.asked == []


@pytest.mark.parametrize("fault", ["nobody", "refuses", "silent"])
def test_a_collector_that_fails_costs_no_request_and_not_the_end(fault: str) -> None:
    with Collector(
        status=500 if fault == "refuses" else 200, delay_s=3.0 if fault == "silent" else 0.0
    ) as there:
        url = "http://127.0.0.1:1/v1/traces" if fault == "nobody" else there.url
        with traced(url, timeout_s=0.5) as (door, tracer):
            begun_s = time.monotonic()
            for _ in range(20):
                assert b" 200 " in door.ask(http("GET", "/v1/models", headers={"Connection": "close"}))
            assert time.monotonic() - begun_s < 5
            begun_s = time.monotonic()
            tracer.close()
            assert time.monotonic() - begun_s < 3


def test_more_spans_than_fit_are_lost_and_nobody_waits() -> None:
    with Collector(delay_s=0.5) as collector:
        tracer = tracer_of(TracingSettings(endpoint=collector.url, timeout_s=1.0))
        assert tracer is not None
        with opened(observer=tracer) as door:
            begun_s = time.monotonic()
            for number in range(5000):
                exchange = Exchange(request_id=f"r{number}", method="GET", gone=lambda: False, observer=None)
                tracer.exchange_ended(exchange)
            assert time.monotonic() - begun_s < 10
            assert door.url
        tracer.close()
        assert 0 < len(collector.spans) <= 5000


def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    with Collector() as collector, traced(collector.url):
        pass
    assert set(threading.enumerate()) <= before


def test_without_the_extra_an_endpoint_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="the extra `otel`"):
        tracer_of(TracingSettings(endpoint="http://collector:4318/v1/traces"))
    assert tracer_of(TracingSettings()) is None


def test_the_daemon_without_an_endpoint_loads_nothing_of_opentelemetry() -> None:
    code = (
        "import sys, appliance.daemon.composition as c\n"
        "from appliance.config import Config\nfrom appliance.daemon.tracing import tracer_of\n"
        "assert tracer_of(Config().tracing) is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-tools.lock"])
def test_the_base_install_has_no_opentelemetry(lock: str) -> None:
    assert "opentelemetry" not in (ROOT / lock).read_text(encoding="utf-8")


def test_a_daemon_with_an_endpoint_sends_and_ends(tmp_path: Path) -> None:
    with Collector() as collector:
        config = f'[tracing]\nendpoint = "{collector.url}"\nservice = "kitchen"\n'
        with Daemon(tmp_path, models={}, config=config) as daemon:
            assert json.loads(daemon.get("/v1/models"))["object"] == "list"
            (first, *_) = collector.wait_for(1)
        assert first.service == "kitchen"
        assert "GET /v1/models" in spans(collector)
