"""The process that asks jetson-stats, with fakes of every temper."""

from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from appliance.hardware import jetson_stats
from appliance.hardware.jetson_stats import JetsonStats
from appliance.hardware.root import Absent

pytestmark = pytest.mark.alone


def ask(temper: str, limit_s: float = 30.0) -> JetsonStats | Absent:
    return jetson_stats.ask(command=[sys.executable, "-m", "tests.fakes.fake_jtop", temper], limit_s=limit_s)


def test_a_service_that_is_well_is_told() -> None:
    assert ask("well") == JetsonStats(
        version="7.2.2",
        module="NVIDIA Jetson Orin Nano (8GB ram)",
        jetpack="6.2",
        power_mode="25W",
        is_clock_fixed=False,
        total_watts=5.588,
        largest_free_bytes=2 * 1024**3,
    )


def test_values_of_other_types_are_unknown() -> None:
    told = ask("odd")
    assert isinstance(told, JetsonStats)
    assert told.version == "7.2.2"
    assert sorted(told.reasons) == [
        "jetpack",
        "largest_free_bytes",
        "module",
        "power_mode",
        "total_watts",
    ]


@pytest.mark.parametrize(
    ("temper", "why"),
    [
        ("absent", "RuntimeError: The jtop.service is not active. Please run: sudo jtop --install-service"),
        ("silent", "RuntimeError: the service tells nothing"),
        ("garbage", "its answer is not understood"),
        ("dies", "its answer is not understood"),
        ("endless", "it says more than 64 KiB"),
    ],
)
def test_whatever_goes_wrong_is_one_reason(temper: str, why: str) -> None:
    assert str(ask(temper)) == f"jtop: unavailable ({why})"


def test_a_service_that_never_answers_is_given_up_and_leaves_no_process() -> None:
    began_s = time.monotonic()
    told = ask("hangs", limit_s=3.0)
    assert str(told) == "jtop: unavailable (no answer within 3 s)"
    assert time.monotonic() - began_s < 10
    left = [
        process for process in psutil.Process(os.getpid()).children() if "fake_jtop" in str(process.cmdline())
    ]
    assert left == []


def test_the_real_probe_without_jetson_stats_says_so() -> None:
    told = jetson_stats.ask(command=jetson_stats.COMMAND, limit_s=30.0)
    assert str(told) == "jtop: unavailable (ModuleNotFoundError: No module named 'jtop')"


def test_a_program_that_is_not_there_is_a_reason() -> None:
    told = jetson_stats.ask(command=["/nowhere/python"])
    assert str(told) == "jtop: unavailable (cannot be started: No such file or directory)"


def test_where_it_is_not_installed_nothing_is_started() -> None:
    assert str(jetson_stats.ask()).startswith("jtop: unavailable (jetson-stats is not installed; to have it:")
