from __future__ import annotations

from dataclasses import replace

from appliance.health.access import AccessHealth
from appliance.health.report import RunnerHealth, StoreHealth, collect
from appliance.health.rules import Verdict, evaluate
from appliance.supervisor.states import RunnerState
from appliance.wire.messages import EngineStats, Sandbox
from tests.fakes.fake_health import READY, STOPPED, report_with


def verdict(*runners: RunnerHealth, alive: bool = True, stopping: bool = False) -> Verdict:
    return evaluate(report_with(*runners, alive=alive, stopping=stopping))


def test_all_well_is_live_and_ready() -> None:
    assert verdict(READY) == Verdict(is_live=True, is_ready=True, reasons=())


def test_a_stopped_model_that_is_not_preloaded_is_no_reason() -> None:
    assert verdict(replace(READY, is_preloaded=False, state="stopped")).is_ready


def test_a_preloaded_model_that_is_not_ready_is_one() -> None:
    found = verdict(replace(READY, state="failed", reason="SIGSEGV"))
    assert found == Verdict(is_live=True, is_ready=False, reasons=("m is failed: SIGSEGV",))
    assert verdict(replace(READY, state="starting")).reasons == ("m is starting",)
    loading = replace(READY, state="starting", loading_progress=0.25)
    assert verdict(loading).reasons == ("m is starting (25% loaded)",)


def test_a_failed_model_that_may_be_started_again_is_no_reason() -> None:
    assert verdict(replace(READY, is_preloaded=False, state="failed", crashes=1, reason="SIGSEGV")).is_ready


def test_a_hung_runner_is_one_before_it_is_killed() -> None:
    found = verdict(replace(READY, is_preloaded=False, is_hung=True, silent_s=12.3))
    assert found.reasons == ("m has given no sign of life for 12 s",)
    assert found.is_live


def test_a_runner_that_beats_and_computes_nothing_is_one_too() -> None:
    found = verdict(replace(READY, is_preloaded=False, is_hung=True, silent_s=0.3, stalled_s=31.2))
    assert found.reasons == ("m has computed nothing of what it is asked for 31 s",)


def test_a_wrong_place_and_a_low_speed_are_degraded_and_not_unready() -> None:
    found = verdict(replace(READY, alarm="runs on the CPU", degraded="decodes 3.0 tokens/s"))
    assert (found.is_live, found.is_ready, found.reasons) == (True, True, ())
    assert found.degraded == ("m runs on the CPU", "m decodes 3.0 tokens/s")


def test_changes_that_the_audit_log_misses_are_a_warning_and_no_reason() -> None:
    access = AccessHealth(is_key_needed=True, keys=1, is_claim_pending=False, unaudited=3)
    found = evaluate(replace(report_with(READY), access=access))
    assert found.warnings == ("the audit log misses 3 changes: its disk is full or fails",)
    assert found.is_ready


def test_a_daemon_without_a_model_is_not_ready() -> None:
    (reason,) = verdict().reasons
    assert reason == "it serves no model; bring one with `outpost import FILE.gguf` or `outpost pull NAME`"


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
    status = replace(
        STOPPED,
        state=RunnerState.READY,
        running=2,
        waiting=3,
        waiting_background=2,
        runner_pid=7,
        sandbox=sandbox,
        uptime_s=100.0,
        silent_s=0.1234567,
        tokens_per_s=12.3456,
        stats=EngineStats(kv_cells=4096, kv_cells_used=17),
    )
    report = collect(
        version="1", uptime_s=1.23456, is_supervisor_alive=True, is_stopping=False, models=[status]
    )
    (runner,) = report.runners
    assert report.uptime_s == 1.235
    assert runner.sandbox_level == "partial"
    assert runner.sandbox_missing == ("landlock",)
    assert (runner.waiting, runner.waiting_background) == (3, 2)
    assert runner.device is None
    assert runner.n_seq_max is None
    assert (runner.uptime_s, runner.tokens_per_s, runner.silent_s) == (100.0, 12.346, 0.123)
    assert (runner.kv_cells_used, runner.kv_cells) == (17, 4096)


def test_a_store_at_fault_is_a_reason_only_where_nothing_else_is_served() -> None:
    store = StoreHealth(models=0, broken=(), free_bytes=1, floor_bytes=1, fault="the index is damaged")
    assert evaluate(replace(report_with(READY), store=store)).is_ready
    assert evaluate(replace(report_with(), store=store)).reasons == ("the index is damaged",)
