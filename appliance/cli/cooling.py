"""What `health` and `ps` say of heat and power: one line, from the health report."""

from __future__ import annotations

from typing import Any

from appliance.cli.terminal import printable


def cooling_line(report: dict[str, Any]) -> str | None:
    """None: the server tells nothing of it, as servers of another make."""
    cooling = report.get("cooling")
    if not isinstance(cooling, dict) or not isinstance(cooling.get("state"), str):
        return None
    state, cause, reason = (str(cooling.get(key)) for key in ("state", "cause", "reason"))
    told = f"cooling: {state}" + ("" if cause == "ok" else f" ({cause})")
    return printable("; ".join([f"{told}: {reason}", *_measures(cooling)]))


def _measures(cooling: dict[str, Any]) -> list[str]:
    duty = cooling.get("duty")
    measures = []
    if isinstance(duty, (int, float)) and duty < 1:
        measures.append(f"models compute {duty:.0%} of the time")
    if cooling.get("holds_background") is True:
        measures.append("background requests wait")
    if cooling.get("admits") is False:
        measures.append("no new requests")
    return measures
