"""Laws of the structure that neither linter nor types can check."""

from __future__ import annotations

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


def test_structure_md_names_only_modules_that_exist() -> None:
    text = (ROOT / "docs/structure.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", text))
    missing = [
        name for name in named if not (ROOT / "appliance" / name).exists() and not (ROOT / name).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("folder", ["appliance", "provision", "tests"])
def test_no_file_is_longer_than_one_noun_needs(folder: str) -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path.name: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_errors_are_imported_from_their_tree_and_not_from_its_branches() -> None:
    branch = re.compile(r"from appliance\.errors\.")
    sources = [path for folder in ("appliance", "tests") for path in (ROOT / folder).rglob("*.py")]
    found = [path for path in sources if branch.search(path.read_text(encoding="utf-8"))]
    assert {path.parent for path in found} == {ROOT / "appliance/errors"}
