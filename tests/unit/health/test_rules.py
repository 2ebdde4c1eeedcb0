from __future__ import annotations

from dataclasses import replace

from appliance.health.report import HealthReport, RunnerHealth, collect
from appliance.health.rules import Verdict, evaluate
from appliance.supervisor.states import RunnerState
from appliance.supervisor.status import ModelStatus
from appliance.wire.messages import Sandbox

READY = RunnerHealth(
    model="m",
    state="ready",
    reason=None,
    is_preloaded=True,
    is_quarantined=False,
    crashes=0,
    starts=1,
    running=0,
    waiting=0,
    loading_progress=None,
    runner_pid=1,
    sandbox_level="full",
    sandbox_missing=(),
    rss_bytes=1,
    load_s=1.0,
    last_token_age_s=None,
    device="cpu",
)


def verdict(*runners: RunnerHealth, alive: bool = True, stopping: bool = False) -> Verdict:
    report = HealthReport(
        version="1", uptime_s=1.0, is_supervisor_alive=alive, is_stopping=stopping, runners=runners
    )
    return evaluate(report)


def test_all_well_is_live_and_ready() -> None:
    assert verdict(READY) == Verdict(is_live=True, is_ready=True, reasons=())


def test_a_stopped_model_that_is_not_preloaded_is_no_reason() -> None:
    assert verdict(replace(READY, is_preloaded=False, state="stopped")).is_ready


def test_a_preloaded_model_that_is_not_ready_is_one() -> None:
    found = verdict(replace(READY, state="failed", reason="SIGSEGV"))
    assert found == Verdict(is_live=True, is_ready=False, reasons=("m is failed: SIGSEGV",))
    assert verdict(replace(READY, state="starting")).reasons == ("m is starting",)


def test_a_quarantined_model_is_one_even_if_nobody_preloads_it() -> None:
    runner = replace(READY, is_preloaded=False, state="failed", is_quarantined=True, reason="quarantined")
    assert verdict(runner).reasons == ("m: quarantined",)


def test_a_stopping_daemon_is_live_but_not_ready() -> None:
    assert verdict(READY, stopping=True) == Verdict(
        is_live=True, is_ready=False, reasons=("the daemon is stopping",)
    )


def test_a_supervisor_that_does_not_answer_is_not_live() -> None:
    assert verdict(READY, alive=False) == Verdict(
        is_live=False, is_ready=False, reasons=("the supervisor does not answer",)
    )


def test_a_report_is_collected_from_the_supervisors_pictures() -> None:
    sandbox = Sandbox(
        level="partial",
        no_new_privs=True,
        non_dumpable=True,
        rlimits=True,
        landlock_abi=0,
        seccomp=True,
        missing=["landlock"],
    )
    status = ModelStatus(
        name="m",
        state=RunnerState.READY,
        reason=None,
        is_preloaded=False,
        is_quarantined=False,
        crashes=0,
        starts=1,
        running=2,
        waiting=3,
        loading_progress=None,
        runner_pid=7,
        sandbox=sandbox,
        facts=None,
        load_s=1.5,
        rss_bytes=10,
        last_token_age_s=0.5,
        stats=None,
    )
    report = collect(
        version="1", uptime_s=1.23456, is_supervisor_alive=True, is_stopping=False, models=[status]
    )
    (runner,) = report.runners
    assert report.uptime_s == 1.235
    assert runner.sandbox_level == "partial"
    assert runner.sandbox_missing == ("landlock",)
    assert runner.waiting == 3
    assert runner.device is None
