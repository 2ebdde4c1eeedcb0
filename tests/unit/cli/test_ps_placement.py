"""What `outpost ps` tells of where models are, for how long, and of what they gave up."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.cli.ps import HEADER, about_placement, cells, rows

GIB = 1 << 30


def row(**runner: Any) -> Any:
    [found] = rows([{"id": "m", "state": "ready"}], {"runners": [{"model": "m", **runner}]})
    return found


def cell(name: str, **runner: Any) -> str:
    return cells(row(**runner))[HEADER.index(name)]


@pytest.mark.parametrize(
    ("runner", "until"),
    [
        ({}, "-"),
        ({"is_pinned": False, "uptime_s": None}, "-"),
        ({"is_pinned": True, "uptime_s": 5.0}, "pinned"),
        ({"is_pinned": False, "uptime_s": 5.0, "expires_in_s": 299.0}, "4m59s"),
        ({"is_pinned": False, "uptime_s": 5.0, "running": 2}, "in use"),
        ({"is_pinned": False, "uptime_s": 5.0, "running": 0}, "memory is short"),
    ],
)
def test_until_tells_when_it_leaves_memory(runner: dict[str, Any], until: str) -> None:
    assert cell("UNTIL", **runner) == until


def test_memory_is_what_it_holds_of_what_was_planned() -> None:
    assert cell("MEMORY", rss_bytes=GIB, planned_bytes=2 * GIB) == "1.1 GB/2.1 GB"
    assert cell("MEMORY", rss_bytes=GIB) == "1.1 GB"
    assert cell("MEMORY", planned_bytes=GIB) == "-"


def test_what_was_given_up_and_what_is_wrong_are_lines_below() -> None:
    found = row(
        conceded=[{"what": "context", "wanted": "4096", "got": "3072"}],
        variant="small",
        alarm="runs on the CPU",
        degraded="decodes 3.0 tokens/s",
    )
    assert about_placement(found) == [
        "m: context 4096 -> 3072 to fit memory",
        "m: answered by small to fit memory",
        "m runs on the CPU",
        "m decodes 3.0 tokens/s",
    ]
    assert about_placement(row()) == []


def test_a_hostile_server_writes_nothing_to_the_terminal() -> None:
    assert about_placement(row(conceded=["\x1b[2J", {"what": "\x1b[2J"}], alarm="\x1b]0;x\x07")) == [
        "m: [2J None -> None to fit memory",
        "m ]0;x",
    ]


def test_all_of_it_is_in_the_json() -> None:
    told = row(
        n_gpu_layers=29, n_layers=29, type_k="f16", type_v="f16", kernels="k", measured_bytes=7
    ).as_json()
    assert (told["gpu_layers"], told["layers"], told["kernels"], told["measured_bytes"]) == (29, 29, "k", 7)
    assert told["cache_types"] == ("f16", "f16")
