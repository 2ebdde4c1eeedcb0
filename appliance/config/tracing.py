"""Settings of traces. Declared as those of `settings.py`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from appliance.config.section import Section, setting


def _endpoint(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    else:
        is_sound = is_sound and not (parts.username or parts.password or parts.query or parts.fragment)
    if not is_sound or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be http(s)://HOST[:PORT]/PATH, for example http://collector:4318/v1/traces")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class TracingSettings(Section):
    """OpenTelemetry traces; off unless an endpoint is named. They need the extra `otel`."""

    endpoint: Endpoint = setting(
        "", "Where spans are sent, by OTLP over HTTP; no other place is ever called. Empty: no traces."
    )
    service: str = setting("outpost", "The name of this Outpost in traces.", min_length=1)
    sampled_ratio: float = setting(1.0, "Share of the requests that are traced.", unit="ratio", ge=0, le=1)
    timeout_s: float = setting(
        5.0, "How long the endpoint may take for one batch, which is lost then.", unit="s", ge=0.1, le=60
    )
