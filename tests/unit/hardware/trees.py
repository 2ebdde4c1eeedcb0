"""Small trees of the kernel's files."""

from __future__ import annotations

from pathlib import Path

from appliance.hardware.root import Root


def tree(top: Path, files: dict[str, object]) -> Root:
    """Text by path."""
    for path, value in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(f"{value}\n")
    return Root(top)
