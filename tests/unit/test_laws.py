"""Laws of the structure that neither linter nor types can check."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
"""Of a file; past it, it holds more than one noun."""
MARK = re.compile(r"except (?:Base)?Exception\b.*noqa: BLE001")


def test_broad_excepts_stand_only_where_structure_md_lists_them() -> None:
    table = (
        (ROOT / "docs/structure.md")
        .read_text(encoding="utf-8")
        .split("## Where `except Exception` stands")[1]
    )
    listed = set(re.findall(r"^\| `([^`]+\.py)` \|", table, re.MULTILINE))
    package = ROOT / "appliance"
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if MARK.search(path.read_text(encoding="utf-8"))
    }
    assert found == listed


@pytest.mark.parametrize("page", ["structure.md", "threat-model.md"])
def test_a_page_names_only_modules_that_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", text))
    missing = [
        name for name in named if not (ROOT / "appliance" / name).exists() and not (ROOT / name).exists()
    ]
    assert missing == []


def test_structure_md_has_every_module_of_the_store_once() -> None:
    text = (ROOT / "docs/structure.md").read_text(encoding="utf-8")
    table = text.split("What is in `store/`")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    patterns = [pattern for cell in cells for pattern in re.findall(r"`([a-z_*]+)`", cell)]
    modules = {path.stem for path in (ROOT / "appliance/store").glob("[a-z]*.py")}
    found = [module for pattern in patterns for module in fnmatch.filter(modules, pattern)]
    assert sorted(found) == sorted(modules)
    assert all(fnmatch.filter(modules, pattern) for pattern in patterns)


def test_the_threat_model_names_only_tests_that_exist() -> None:
    page = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named - there == set()


@pytest.mark.parametrize("folder", ["appliance", "hil", "provision", "tests"])
def test_no_file_is_longer_than_one_noun_needs(folder: str) -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path.name: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_errors_are_imported_from_their_tree_and_not_from_its_branches() -> None:
    branch = re.compile(r"from appliance\.errors\.")
    sources = [path for folder in ("appliance", "hil", "tests") for path in (ROOT / folder).rglob("*.py")]
    found = [path for path in sources if branch.search(path.read_text(encoding="utf-8"))]
    assert {path.parent for path in found} == {ROOT / "appliance/errors"}
