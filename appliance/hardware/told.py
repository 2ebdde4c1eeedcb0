"""A board's report as JSON, one form for the command line and the door. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from appliance.hardware.jetson_stats import JetsonStats
from appliance.hardware.report import HardwareReport
from appliance.hardware.root import Absent


def report_object(report: HardwareReport, jtop: JetsonStats | Absent | None = None) -> dict[str, Any]:
    """Names of fields end with their units; what is unknown is null, with its reason in `reasons`."""
    told = asdict(report)
    told["is_throttled"] = report.is_throttled
    told["memory"]["budget_bytes"] = report.memory.budget_bytes
    told["power"]["is_over_current"] = report.power.is_over_current
    for shown, device in zip(told["thermal"]["cooling_devices"], report.thermal.cooling_devices, strict=True):
        shown["is_throttling"] = device.is_throttling
    told["jtop"] = asdict(jtop) if isinstance(jtop, JetsonStats) else None
    told["reasons"] = {"jtop": str(jtop)} if isinstance(jtop, Absent) else {}
    return told
