"""`docs/streams.md` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.api.exchange import Exchange
from appliance.api.requests import _shown
from appliance.api.resuming.kept_stream import LAST_EVENT_ID
from appliance.api.resuming.kept_streams import ResumeLimits
from appliance.api.resuming.middleware import RESUMABLE, STREAM
from appliance.config import Config
from appliance.daemon.door_policy import resume_limits

PAGE = (Path(__file__).parents[4] / "docs" / "streams.md").read_text()


def test_the_headers_are_on_the_page() -> None:
    assert all(f"`{name}" in PAGE or f'"{name}' in PAGE for name in (RESUMABLE, STREAM, LAST_EVENT_ID))


def test_the_bounds_on_the_page_are_the_defaults() -> None:
    server = Config().server
    assert f"`[server] resume_s` ({server.resume_s:.0f} s)" in PAGE
    assert f"`[server] resume_bytes` ({server.resume_bytes >> 20} MiB)" in PAGE
    assert f"`resume_streams_per_key` ({server.resume_streams_per_key})" in PAGE
    assert f"`resume_streams` ({server.resume_streams})" in PAGE
    assert resume_limits(Config()) == ResumeLimits()


def test_the_item_of_the_list_on_the_page_has_its_fields() -> None:
    exchange = Exchange(request_id="r", method="POST", gone=lambda: False, observer=None)
    example = PAGE.split('"data": [{')[1].split("}]")[0]
    assert set(re.findall(r'"([a-z_]+)":', example)) == set(_shown(exchange))
