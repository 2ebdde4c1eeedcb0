"""The text that variants are judged by: our own, prose and code and numbers in several languages."""

from __future__ import annotations

from importlib import resources


def judged_text() -> str:
    """About 2,000 tokens in the vocabularies of today."""
    return (resources.files("appliance.optimizing") / "judged_text.txt").read_text(encoding="utf-8")
