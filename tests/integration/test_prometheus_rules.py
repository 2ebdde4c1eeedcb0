"""Alerts and dashboard: promtool reads them, they ask only for what the daemon tells, and each alert fires
when it should and is silent when it should be.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.telemetry.registry import CHAPTERS, FAMILIES
from appliance.telemetry.text import PREFIX
from tests.integration.alert_cases import CASES, Case

pytestmark = pytest.mark.integration

CONFIGS = Path(__file__).parents[2] / "configs"
RULES = CONFIGS / "prometheus/outpost-alerts.yml"
DASHBOARD = json.loads((CONFIGS / "grafana/outpost.json").read_text(encoding="utf-8"))
ALERTS = dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - alert|\Z)", RULES.read_text(), re.DOTALL))
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that the daemon does not write."""


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


def panels(inside: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in inside:
        yield panel
        yield from panels(panel.get("panels", []))


def expressions() -> list[str]:
    found = [target["expr"] for panel in panels(DASHBOARD["panels"]) for target in panel.get("targets", [])]
    assert len(found) > 30
    return found


def asked(expression: str) -> dict[str, set[str]]:
    """Metric → the labels by which an expression picks or groups it."""
    grouped = re.findall(r"\b(?:by|without) ?\(([^)]*)\)", expression)
    labels = {label.strip() for group in grouped for label in group.split(",")}
    found: dict[str, set[str]] = {}
    for name, picked in re.findall(rf"\b{PREFIX}(\w+)(?:\{{([^}}]*)\}})?", expression):
        told = found.setdefault(name, set())
        told.update(re.findall(r"(\w+) *(?:=~|!~|!=|=)", picked))
        if expression.count(PREFIX) == 1:
            told.update(labels)
    return found


def unknown(expression: str) -> list[str]:
    faults = []
    for name, labels in asked(expression).items():
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        family = FAMILIES.get(name) or FAMILIES.get(base)
        if family is None or (family.kind == "histogram") != (name != base and name not in FAMILIES):
            faults.append(name)
        elif not labels <= {*family.labels, *OF_PROMETHEUS}:
            faults.append(f"{name}{labels - set(family.labels)}")
    return faults


def test_promtool_takes_the_alerts() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_every_alert_has_its_cases() -> None:
    assert {case.alert for case in CASES} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_asks_for_metrics_that_there_are(alert: str) -> None:
    expression = ALERTS[alert].partition("for:")[0]
    assert PREFIX in expression or "up{" in expression
    assert unknown(expression) == []


def test_each_alert_fires_on_its_series_and_is_silent_on_the_others(tmp_path: Path) -> None:
    """One run of promtool for all: it takes longer to start than to think."""
    groups = [group for case in CASES for group in (_firing(case), _quiet(case))]
    told = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": groups}
    file = tmp_path / "alerts-test.yml"  # JSON is YAML
    file.write_text(json.dumps(told))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_a_test_of_an_alert_can_fail(tmp_path: Path) -> None:
    group = {**_quiet(CASES[0]), "alert_rule_test": _firing(CASES[0])["alert_rule_test"]}
    file = tmp_path / "alerts-test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [group]}))
    with pytest.raises(AssertionError, match="OutpostDown"):
        promtool("test", "rules", file)


def test_promtool_can_read_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": _without_variables(expression)}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize("expression", expressions())
def test_the_dashboard_asks_for_metrics_that_there_are(expression: str) -> None:
    assert unknown(_without_variables(expression)) == []


@pytest.mark.parametrize("chapter", ["Keys and usage", "Resumable streams"])
def test_the_dashboard_shows_every_metric_of_a_chapter(chapter: str) -> None:
    shown = {name for expression in expressions() for name in asked(expression)}
    assert {family.name for family in CHAPTERS[chapter]} <= shown


def test_a_metric_or_label_that_there_is_not_would_be_found() -> None:
    assert unknown("rate(outpost_nope_total[5m])") == ["nope_total"]
    assert unknown('outpost_runner_state{key="x"}') == ["runner_state{'key'}"]
    assert unknown("outpost_queue_seconds") == ["queue_seconds"]


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert DASHBOARD["title"] == "Outpost"
    assert {one["name"] for one in DASHBOARD["templating"]["list"]} == {"datasource", "instance", "model"}
    ids = [panel["id"] for panel in panels(DASHBOARD["panels"])]
    assert len(ids) == len(set(ids))
    for panel in panels(DASHBOARD["panels"]):
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"]


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(DASHBOARD["panels"]):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def _without_variables(expression: str) -> str:
    told = expression.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$model", ".*")
    assert "$" not in told
    return told


def _series(told: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": series, "values": values} for series, values in told.items()]


def _firing(case: Case) -> dict[str, Any]:
    description = re.search(r'description: "(.*)"', ALERTS[case.alert])
    assert description is not None
    expected = {
        "exp_labels": {"severity": case.severity, "instance": "box:11434", **case.labels},
        "exp_annotations": {"summary": case.says, "description": description[1]},
    }
    test = {"eval_time": "50m", "alertname": case.alert, "exp_alerts": [expected]}
    return {"interval": "1m", "input_series": _series(case.firing), "alert_rule_test": [test]}


def _quiet(case: Case) -> dict[str, Any]:
    test: dict[str, Any] = {"eval_time": "50m", "alertname": case.alert, "exp_alerts": []}
    return {"interval": "1m", "input_series": _series(case.quiet), "alert_rule_test": [test]}
