"""Requests made from the OpenAPI document, some of the ten thousand that `make fuzz` sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.fuzz import fuzzed

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(600)]


def test_every_answer_is_one_of_the_document_and_none_is_a_fault_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fuzzed(tmp_path, requests=1000, seed=1)
    with capsys.disabled():
        print(
            f"\n{found['sent']} requests in {found['duration_s']} s: {found['statuses']}, "
            f"memory grown by {found['rss_grown_bytes'] / 1e6:.1f} MB",
            end="",
        )
    assert found["faults"] == {}
    assert (found["statuses"].get("500", 0), found["tracebacks"]) == (0, 0)
    assert found["health"] == "ok"
    assert found["sent"] >= found["warm_up"] + 1000
    assert found["rss_grown_bytes"] < 10_000_000
    assert len(found["operations"]) > 70
    reached = {label for label, statuses in found["operations"].items() if "200" in statuses}
    assert {
        "POST /v1/chat/completions",
        "POST /api/chat",
        "POST /v1/messages",
        "POST /v1/responses",
    } <= reached
