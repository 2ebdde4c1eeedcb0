"""The door to OpenTelemetry (the extra `otel`): spans leave for the one endpoint that is configured.

Imported only where there is one, so a daemon without traces neither needs nor loads it. The SDK's batch
thread sends; a request only puts its spans into a queue with a bound, and what does not fit is lost. No
proxy, no redirect and no variable of the environment leads elsewhere: the POST is our own.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from appliance import __version__, log
from appliance.telemetry.spans import Parent, Span, Traced, parent_of, spans_of

_log = log.logger("telemetry")

_MAX_QUEUED: Final = 2048
_MAX_BATCH: Final = 256
_EVERY_MS: Final = 2000
_LIMITS: Final = SpanLimits(max_attributes=32, max_attribute_length=256, max_events=0, max_links=0)


class Tracer:
    """Any thread. Implements `observers.Counting`."""

    def __init__(
        self,
        *,
        endpoint: str,
        service: str,
        sampled_ratio: float,
        timeout_s: float,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock_ns = clock_ns
        self._exporter = _Exporter(endpoint, timeout_s)
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(sampled_ratio),
            resource=Resource({"service.name": service, "service.version": __version__}),
            span_limits=_LIMITS,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=_MAX_QUEUED,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=_MAX_BATCH,
                export_timeout_millis=timeout_s * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("outpost", __version__)

    def exchange_ended(self, exchange: Traced) -> None:
        request, *parts = spans_of(exchange, self._clock_ns())
        context = _context_of(parent_of(exchange.traceparent))
        kind = trace.SpanKind.SERVER
        told = self._tracer.start_span(
            request.name,
            context,
            kind=kind,
            attributes=dict(request.attributes),
            start_time=request.begun_ns,
        )
        if told.is_recording():
            inside = trace.set_span_in_context(told)
            for part in parts:
                self._tracer.start_span(
                    part.name, inside, attributes=dict(part.attributes), start_time=part.begun_ns
                ).end(part.ended_ns)
        _end(told, request)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        """Sends what is left, for as long as the endpoint may take for one batch."""
        self._exporter.is_last = True
        self._provider.shutdown()


def _end(told: trace.Span, span: Span) -> None:
    if span.error is not None:
        told.set_status(trace.StatusCode.ERROR, span.error)
    told.end(span.ended_ns)


def _context_of(parent: Parent | None) -> Context | None:
    if parent is None:
        return None
    context = trace.SpanContext(
        trace_id=parent.trace_id,
        span_id=parent.span_id,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


class _Exporter(SpanExporter):
    """Used by the SDK's batch thread; one connection a batch."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        parts = urlsplit(endpoint)
        self._is_https = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path or "/"
        self._timeout_s = timeout_s
        self._is_failing = False
        self.is_last = False
        """The daemon stops: after a batch that failed no other is tried."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.is_last and self._is_failing:
            return SpanExportResult.FAILURE
        body = encode_spans(spans).SerializeToString()
        try:
            status = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            return self._failed(str(error) or type(error).__name__)
        if not 200 <= status < 300:
            return self._failed(f"it answered {status}")
        self._is_failing = False
        return SpanExportResult.SUCCESS

    def _post(self, body: bytes) -> int:
        kind = http.client.HTTPSConnection if self._is_https else http.client.HTTPConnection
        with closing(kind(self._host, self._port, timeout=self._timeout_s)) as connection:
            connection.request("POST", self._path, body, {"Content-Type": "application/x-protobuf"})
            return connection.getresponse().status

    def _failed(self, reason: str) -> SpanExportResult:
        if not self._is_failing:
            _log.warning("traces_not_sent", reason=reason)
        self._is_failing = True
        return SpanExportResult.FAILURE
