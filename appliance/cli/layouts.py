"""What tables say below of a model's layout of weights: which variant is served, or what there is to gain."""

from __future__ import annotations

from appliance.cli.terminal import printable


def about_layout(name: str, optimized: object, hint: object) -> list[str]:
    """At most one line."""
    if optimized:
        return [printable(f"{name}: {optimized}")]
    if hint:
        return [printable(f"{name}: {hint}; measure it with: outpost optimize {name}")]
    return []
