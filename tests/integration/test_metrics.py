"""The page of metrics, read by Prometheus's own tools, and what a scrape costs."""

from __future__ import annotations

import subprocess
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.full_metrics import full_metrics, full_page
from tests.integration.api_door import chat_request, opened

pytestmark = pytest.mark.integration

MOST_SCRAPE_S = 0.030
HOSTILE = 'a"b\\c\nd{{e}}, le="1"\t\u202eü#{}'


def lint(page: str) -> str:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page.encode(), capture_output=True, check=False, timeout=30
    )
    return (done.stdout + done.stderr).decode() + ("" if done.returncode in {0, 3} else "failed")


def test_promtool_finds_nothing_to_say_about_the_page() -> None:
    assert lint(full_page(models=3)) == ""


def test_promtool_would_say_what_is_wrong() -> None:
    assert "no help" in lint("# TYPE outpost_x counter\noutpost_x 1\n").lower()


def test_names_from_outside_stay_inside_their_label() -> None:
    page = full_page(models=2, names=HOSTILE)
    assert "error" not in lint(page).lower()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    names = {sample.labels["model"] for sample in families["outpost_runner_state"].samples}
    assert names == {HOSTILE.format(0), HOSTILE.format(1)}


def test_another_parser_reads_the_same_values() -> None:
    families = {family.name: family for family in text_string_to_metric_families(full_page(models=1))}
    gaps = families["outpost_inter_token_seconds"]
    assert gaps.type == "histogram"
    counts = [sample.value for sample in gaps.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == 40
    assert families["outpost_prompt_tokens"].samples[0].value == 200


def test_a_scrape_of_fifty_models_costs_at_most_30_ms() -> None:
    """Of the daemon's CPU time: others only make it longer, so the least of many counts."""
    metrics = full_metrics(models=50, requests=40)
    page, spent = "", []
    for _ in range(15):
        begun_s = time.thread_time()
        page = metrics.render()
        spent.append(time.thread_time() - begun_s)
    print(
        f"a scrape of 50 models: {min(spent) * 1000:.1f} ms, {len(page)} bytes, {page.count(chr(10))} lines"
    )
    assert min(spent) <= MOST_SCRAPE_S


def test_the_door_serves_what_it_has_counted_of_a_real_stream() -> None:
    metrics = full_metrics(models=1)
    with opened(observer=metrics, render_metrics=metrics.render) as door:
        door.ask(chat_request(stream=True))
        answer = httpx.get(f"{door.url}/metrics", trust_env=False)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert lint(answer.text) == ""
