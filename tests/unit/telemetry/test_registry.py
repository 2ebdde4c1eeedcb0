"""The list of metrics: all that is rendered stands on it, and its page is current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.telemetry.families import Family
from appliance.telemetry.registry import CHAPTERS, FAMILIES, rewritten
from appliance.telemetry.text import PREFIX
from tests.fakes.full_metrics import full_page

ROOT = Path(__file__).parents[3]
PAGE = full_page(models=2)


def rendered() -> dict[str, tuple[str, set[str]]]:
    """Name → kind and the labels seen, `le` left out."""
    found: dict[str, tuple[str, set[str]]] = {}
    for name, kind in re.findall(rf"^# TYPE {PREFIX}(\w+) (\w+)$", PAGE, re.MULTILINE):
        found[name] = (kind, set())
    for name, labels in re.findall(rf"^{PREFIX}(\w+)(?:\{{(.*)\}})? \S+$", PAGE, re.MULTILINE):
        family = name if name in found else name.rpartition("_")[0]
        found[family][1].update(set(re.findall(r'(\w+)="', labels)) - {"le"})
    return found


def test_what_is_rendered_and_what_is_listed_are_the_same() -> None:
    assert set(rendered()) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_kind_and_labels_are_those_of_the_list(name: str) -> None:
    kind, labels = rendered()[name]
    assert kind == FAMILIES[name].kind
    assert labels == set(FAMILIES[name].labels)


def test_no_name_is_listed_twice() -> None:
    listed = [family.name for chapter in CHAPTERS.values() for family in chapter]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_conventions(family: Family) -> None:
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert (family.kind == "histogram") == bool(family.buckets)
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent|celcius)(_|$)", family.name)
    assert family.help.endswith(".")
    assert "\n" not in family.help
    if family.kind == "histogram":
        assert family.name.endswith("_seconds")


def test_the_page_is_current() -> None:
    """Else: `make docs`."""
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert text == rewritten(text)
    assert all(f"`{PREFIX}{name}`" in text for name in FAMILIES)
