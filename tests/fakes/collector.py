"""An OpenTelemetry collector: a real HTTP server that reads OTLP's protobuf, with knobs for its faults."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, kw_only=True)
class Received:
    """One span."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begun_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    error: str | None
    service: str


@dataclass
class Collector:
    """Owned by the test; the serving threads append."""

    status: int = 200
    location: str | None = None
    """Sent as a redirect's target."""
    delay_s: float = 0.0
    raw: list[bytes] = field(default_factory=list)
    spans: list[Received] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="collector")
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_received(span, service["service.name"]) for span in scope.spans]

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        deadline = time.monotonic() + timeout_s
        while len(self.spans) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return list(self.spans)


def _received(span: Any, service: str) -> Received:
    values = {}
    for pair in span.attributes:
        values[pair.key] = getattr(pair.value, pair.value.WhichOneof("value"))
    return Received(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        begun_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=values,
        error=span.status.message if span.status.code == 2 else None,
        service=service,
    )


def _handler_of(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collector.status == 200 and self.headers["Content-Type"] == "application/x-protobuf":
                collector.take(body)
            self._answer()

        def _answer(self) -> None:
            collector.asked.append(f"{self.command} {self.path}")
            time.sleep(collector.delay_s)
            self.send_response(collector.status)
            if collector.location is not None:
                self.send_header("Location", collector.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    return Handler
