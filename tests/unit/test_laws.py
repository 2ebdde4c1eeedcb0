"""Laws of the structure that neither linter nor types can check."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
