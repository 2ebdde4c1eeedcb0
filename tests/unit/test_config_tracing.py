"""Where traces may be sent."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from appliance.config.tracing import TracingSettings


@pytest.mark.parametrize(
    "endpoint",
    ["", "http://collector:4318/v1/traces", "https://10.0.0.2/v1/traces", "http://[fd00::1]:4318/v1/traces"],
)
def test_an_endpoint_is_none_or_one_url(endpoint: str) -> None:
    assert TracingSettings(endpoint=endpoint).endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "ftp://collector/v1/traces",
        "http:///v1/traces",
        "http://user:secret@collector/v1/traces",
        "http://collector:99999/v1/traces",
        "http://collector:0/v1/traces",
        "http://collector/v1/traces?token=x",
        "http://collector/v1/tr aces",
        "http://collector/v1/traces\r\nX: y",
        "http://[fd00::1/v1/traces",
        " ",
    ],
)
def test_what_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="http"):
        TracingSettings(endpoint=endpoint)
