"""For each alert: series that make it fire, what it then says, and series that it must bear in silence."""

from __future__ import annotations

from dataclasses import dataclass, field

AT = 'instance="box:11434"'
HELD = "1x60"
"""Promtool's notation: this value, and the same for 60 more minutes."""


@dataclass(frozen=True, kw_only=True)
class Case:
    alert: str
    firing: dict[str, str]
    quiet: dict[str, str]
    says: str
    severity: str = "warning"
    labels: dict[str, str] = field(default_factory=dict)
    """Beside instance, alertname and severity."""


def _model(metric: str, says: str, *, severity: str = "warning", more: str = "", **labels: str) -> Case:
    return Case(
        alert=labels.pop("alert"),
        firing={f'{metric}{{{AT},model="m"{more}}}': HELD},
        quiet={f'{metric}{{{AT},model="m"{more}}}': "0x60"},
        says=says,
        severity=severity,
        labels={"model": "m", **labels},
    )


def _flag(alert: str, metric: str, says: str, *, severity: str = "warning", **labels: str) -> Case:
    told = "".join(f',{name}="{value}"' for name, value in labels.items())
    return Case(
        alert=alert,
        firing={f"{metric}{{{AT}{told}}}": HELD},
        quiet={f"{metric}{{{AT}{told}}}": "0x60"},
        says=says,
        severity=severity,
        labels=labels,
    )


def _slow(metric: str, labels: str, *, fast: str, slow: str) -> dict[str, str]:
    """A histogram whose observations all lie between two bounds; each bound counts those below it, too."""
    return {
        f'{metric}_bucket{{{AT},{labels},le="{fast}"}}': "0x60",
        f'{metric}_bucket{{{AT},{labels},le="{slow}"}}': "0+60x60",
        f'{metric}_bucket{{{AT},{labels},le="+Inf"}}': "0+60x60",
    }


_REQUESTS = f'outpost_http_requests_total{{{AT},method="POST",route="/v1/chat/completions"'
_TTFT = "outpost_time_to_first_token_seconds"

CASES = (
    Case(
        alert="OutpostDown",
        firing={f'up{{{AT},job="outpost"}}': "0x60"},
        quiet={f'up{{{AT},job="outpost"}}': HELD, f'up{{{AT},job="node"}}': "0x60"},
        says="box:11434 does not answer.",
        severity="critical",
        labels={"job": "outpost"},
    ),
    Case(
        alert="OutpostRestarts",
        firing={f"outpost_process_start_time_seconds{{{AT}}}": "0+600x60"},
        quiet={f"outpost_process_start_time_seconds{{{AT}}}": "5x20 900x40"},
        says="The daemon of box:11434 starts again and again.",
    ),
    Case(
        alert="OutpostErrors",
        firing={f'{_REQUESTS},status="200"}}': "0+90x60", f'{_REQUESTS},status="503"}}': "0+10x60"},
        quiet={f'{_REQUESTS},status="200"}}': "0+97x60", f'{_REQUESTS},status="503"}}': "0+3x60"},
        says="10% of the requests to box:11434 fail.",
    ),
    Case(
        alert="OutpostRequestsLimited",
        firing={
            f'outpost_rate_limited_total{{{AT},bound="requests_per_min"}}': "0+20x60",
            f'outpost_rate_limited_total{{{AT},bound="tokens_per_day"}}': "0+20x60",
        },
        quiet={f'outpost_rate_limited_total{{{AT},bound="requests_per_min"}}': "0+6x60"},
        says="A key asks box:11434 more than it may.",
        severity="info",
    ),
    Case(
        alert="OutpostAuditLost",
        firing={f"outpost_audit_lost_total{{{AT}}}": "0x40 1x20"},
        quiet={f"outpost_audit_lost_total{{{AT}}}": "0x10 1x50"},
        says="The audit log of box:11434 misses changes.",
        severity="critical",
    ),
    Case(
        alert="OutpostQueueSlow",
        firing=_slow("outpost_queue_wait_seconds", 'priority="realtime"', fast="30.0", slow="60.0"),
        quiet={
            **_slow("outpost_queue_wait_seconds", 'priority="realtime"', fast="1.0", slow="2.5"),
            **_slow("outpost_queue_wait_seconds", 'priority="background"', fast="30.0", slow="60.0"),
        },
        says="People wait 58.5s for their turn on box:11434.",
    ),
    Case(
        alert="OutpostFirstTokenSlow",
        firing=_slow(_TTFT, 'model="m"', fast="60.0", slow="120.0"),
        quiet=_slow(_TTFT, 'model="m"', fast="1.0", slow="2.5"),
        says="m on box:11434 takes 1m 57s to its first token.",
        labels={"model": "m"},
    ),
    _model(
        "outpost_runner_state",
        "m does not run on box:11434.",
        more=',state="failed"',
        state="failed",
        alert="OutpostModelFailed",
    ),
    _model(
        "outpost_runner_quarantined",
        "m crashed too often on box:11434 and is left alone.",
        severity="critical",
        alert="OutpostModelQuarantined",
    ),
    _model("outpost_runner_hung", "m on box:11434 gives no sign of life.", alert="OutpostModelHung"),
    _model("outpost_placement_alarm", "m is not on the GPU of box:11434.", alert="OutpostWrongPlace"),
    _model(
        "outpost_runner_degraded",
        "m decodes below half of its usual speed on box:11434.",
        alert="OutpostModelSlow",
    ),
    Case(
        alert="OutpostPlanTooSmall",
        firing={f'outpost_runner_planner_ratio{{{AT},model="m"}}': "0.8x60"},
        quiet={f'outpost_runner_planner_ratio{{{AT},model="m"}}': "1.02x60"},
        says="m takes more memory on box:11434 than was planned.",
        labels={"model": "m"},
    ),
    Case(
        alert="OutpostMemoryShort",
        firing={f'outpost_board_memory_pressure_ratio{{{AT},tasks="full"}}': "0.25x60"},
        quiet={
            f'outpost_board_memory_pressure_ratio{{{AT},tasks="full"}}': "0.01x60",
            f'outpost_board_memory_pressure_ratio{{{AT},tasks="some"}}': "0.5x60",
        },
        says="All tasks of box:11434 wait for memory 25% of the time.",
        labels={"tasks": "full"},
    ),
    Case(
        alert="OutpostHot",
        firing={f'outpost_cooling_state{{{AT},state="closed"}}': HELD},
        quiet={f'outpost_cooling_state{{{AT},state="paced"}}': HELD},
        says="box:11434 is too hot for all requests (closed).",
        labels={"state": "closed"},
    ),
    _flag("OutpostThrottled", "outpost_throttled", "The hardware of box:11434 throttles itself."),
    _flag(
        "OutpostSupplyWeak",
        "outpost_power_under_voltage",
        "The power supply of box:11434 is too weak.",
        severity="critical",
    ),
    _flag(
        "OutpostSensorFault",
        "outpost_zone_fault",
        "The sensor cpu of box:11434 is not believed.",
        zone="cpu",
    ),
    Case(
        alert="OutpostDiskFull",
        firing={
            f"outpost_store_free_bytes{{{AT}}}": "1.5e9x60",
            f"outpost_store_floor_bytes{{{AT}}}": "1e9x60",
        },
        quiet={
            f"outpost_store_free_bytes{{{AT}}}": "9e9x60",
            f"outpost_store_floor_bytes{{{AT}}}": "1e9x60",
        },
        says="box:11434 has no room for another model.",
    ),
    Case(
        alert="OutpostDiskWorn",
        firing={f'outpost_board_disk_life_used_ratio{{{AT},disk="mmcblk0"}}': "0.9x60"},
        quiet={
            f'outpost_board_disk_life_used_ratio{{{AT},disk="mmcblk0"}}': "0.8x60",
            f'outpost_board_disk_end_of_life{{{AT},disk="mmcblk0",state="urgent"}}': "0x60",
        },
        says="The disk mmcblk0 of box:11434 is worn out soon.",
        labels={"disk": "mmcblk0"},
    ),
    Case(
        alert="OutpostDiskWorn",
        firing={f'outpost_board_disk_end_of_life{{{AT},disk="mmcblk0",state="urgent"}}': HELD},
        quiet={f'outpost_board_disk_end_of_life{{{AT},disk="mmcblk0",state="warning"}}': HELD},
        says="The disk mmcblk0 of box:11434 is worn out soon.",
        labels={"disk": "mmcblk0", "state": "urgent"},
    ),
    _flag(
        "OutpostStoreFault",
        "outpost_store_fault",
        "Nothing is known of what is stored on box:11434.",
        severity="critical",
    ),
    Case(
        alert="OutpostModelBroken",
        firing={f"outpost_store_broken{{{AT}}}": "2x60"},
        quiet={f"outpost_store_broken{{{AT}}}": "0x60"},
        says="2 stored models of box:11434 are broken.",
    ),
)
