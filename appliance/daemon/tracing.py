"""Whether there are traces: the door to OpenTelemetry is opened only where an endpoint is configured."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from appliance.config.tracing import TracingSettings
from appliance.errors import ConfigError

if TYPE_CHECKING:
    from appliance.telemetry.otel import Tracer


def tracer_of(settings: TracingSettings) -> Tracer | None:
    """None: traces are off, and nothing of OpenTelemetry is loaded. Raises ConfigError."""
    if not settings.endpoint:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise ConfigError(
            source="configuration",
            key="tracing.endpoint",
            value=settings.endpoint,
            expected="OpenTelemetry to be installed (the extra `otel` of outpost), or no endpoint",
        )
    from appliance.telemetry.otel import Tracer  # noqa: PLC0415 - an extra, loaded only where it is used

    return Tracer(
        endpoint=settings.endpoint,
        service=settings.service,
        sampled_ratio=settings.sampled_ratio,
        timeout_s=settings.timeout_s,
    )
