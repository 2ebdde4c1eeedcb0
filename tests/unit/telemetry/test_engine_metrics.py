"""What runners tell of themselves on the page of metrics."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from appliance.supervisor.states import Eviction, RunnerState
from appliance.supervisor.status import ModelStatus
from appliance.telemetry.engine_metrics import engine_samples
from appliance.telemetry.model_labels import MOST_MODELS
from appliance.telemetry.prometheus import Prometheus
from appliance.wire.messages import EngineStats, Sandbox
from tests.fakes.fake_health import STOPPED
from tests.fakes.fake_inference import FakeInference

STATS = EngineStats(
    running=3,
    waiting=2,
    steps=100,
    prompt_tokens=1000,
    cached_tokens=400,
    generated_tokens=250,
    draft_tokens=40,
    draft_accepted_tokens=30,
    kv_cells_used=512,
    kv_cells=4096,
    prefixes=5,
    n_threads=2,
    step_s_p50=0.025,
    step_s_max=0.5,
    rss_bytes=1,
    restored_tokens=300,
    snapshots=7,
    snapshot_bytes=9000,
    snapshots_written=6,
    snapshot_written_bytes=8000,
    snapshots_refused=4,
    snapshots_failed=3,
)
SANDBOX = Sandbox(
    level="partial", no_new_privs=True, non_dumpable=True, rlimits=True, landlock_abi=0, seccomp=True
)
LOADED = replace(
    STOPPED,
    name="hot",
    state=RunnerState.READY,
    starts=2,
    crashes=1,
    sandbox=SANDBOX,
    rss_bytes=1 << 30,
    stats=STATS,
)


def page(*models: ModelStatus) -> str:
    return Prometheus(FakeInference(), sources=[lambda: engine_samples(models)]).render()


def test_a_loaded_runner_tells_all_its_figures() -> None:
    told = [line for line in page(STOPPED, LOADED).splitlines() if line.startswith("outpost_engine_")]
    assert told == [
        'outpost_engine_running{model="hot"} 3',
        'outpost_engine_waiting{model="hot"} 2',
        'outpost_engine_steps_total{model="hot"} 100',
        'outpost_engine_prompt_tokens_total{model="hot"} 1000',
        'outpost_engine_cached_tokens_total{model="hot"} 400',
        'outpost_engine_generated_tokens_total{model="hot"} 250',
        'outpost_engine_draft_tokens_total{model="hot"} 40',
        'outpost_engine_draft_accepted_tokens_total{model="hot"} 30',
        'outpost_engine_kv_cells_used{model="hot"} 512',
        'outpost_engine_kv_cells{model="hot"} 4096',
        'outpost_engine_prefixes{model="hot"} 5',
        'outpost_engine_restored_tokens_total{model="hot"} 300',
        'outpost_engine_snapshots{model="hot"} 7',
        'outpost_engine_snapshot_bytes{model="hot"} 9000',
        'outpost_engine_snapshots_written_total{model="hot"} 6',
        'outpost_engine_snapshot_written_bytes_total{model="hot"} 8000',
        'outpost_engine_snapshots_refused_total{model="hot"} 4',
        'outpost_engine_snapshots_failed_total{model="hot"} 3',
        'outpost_engine_threads{model="hot"} 2',
        'outpost_engine_computing_seconds_total{model="hot"} 0',
        'outpost_engine_step_p50_seconds{model="hot"} 0.025',
        'outpost_engine_step_max_seconds{model="hot"} 0.5',
    ]


def test_every_model_tells_how_its_runners_fare() -> None:
    told = page(STOPPED, replace(LOADED, is_quarantined=True)).splitlines()
    assert 'outpost_runner_starts_total{model="cold"} 0' in told
    assert 'outpost_runner_starts_total{model="hot"} 2' in told
    assert 'outpost_runner_crashes_in_a_row{model="hot"} 1' in told
    assert 'outpost_runner_quarantined{model="cold"} 0' in told
    assert 'outpost_runner_quarantined{model="hot"} 1' in told
    assert 'outpost_runner_hung{model="hot"} 0' in told
    assert 'outpost_runner_resident_memory_bytes{model="hot"} 1073741824' in told
    assert 'outpost_runner_resident_memory_bytes{model="cold"} 0' in told


def test_the_level_of_the_sandbox_is_one_of_three() -> None:
    told = [line for line in page(STOPPED, LOADED).splitlines() if line.startswith("outpost_runner_sandbox{")]
    assert told == [
        'outpost_runner_sandbox{model="hot",level="full"} 0',
        'outpost_runner_sandbox{model="hot",level="partial"} 1',
        'outpost_runner_sandbox{model="hot",level="none"} 0',
    ]


def test_every_name_has_its_head_once_whatever_the_number_of_models() -> None:
    heads = re.findall(r"^# TYPE (\S+)", page(LOADED, STOPPED, replace(LOADED, name="warm")), re.MULTILINE)
    assert len(heads) == len(set(heads))


def test_nonsense_from_a_runner_does_not_break_the_page() -> None:
    stats = EngineStats(running=-1, step_s_p50=float("nan"), step_s_max=float("inf"))
    told = page(replace(LOADED, stats=stats)).splitlines()
    assert 'outpost_engine_step_p50_seconds{model="hot"} NaN' in told
    assert 'outpost_engine_step_max_seconds{model="hot"} +Inf' in told


def test_every_name_is_in_the_documentation() -> None:
    docs = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^# TYPE (\S+)", page(LOADED), re.MULTILINE))
    assert sorted(name for name in names if f"`{name}`" not in docs) == []


def test_a_wrong_place_and_a_low_speed_are_told() -> None:
    wrong = replace(LOADED, alarm="runs on the CPU", degraded="decodes 3.0 tokens/s", planned_bytes=1 << 31)
    told = page(STOPPED, wrong).splitlines()
    for line in (
        'outpost_placement_alarm{model="cold"} 0',
        'outpost_placement_alarm{model="hot"} 1',
        'outpost_runner_degraded{model="cold"} 0',
        'outpost_runner_degraded{model="hot"} 1',
        'outpost_runner_planned_memory_bytes{model="hot"} 2147483648',
    ):
        assert line in told


def test_evictions_loads_and_what_the_planner_got_wrong_are_told() -> None:
    model = replace(LOADED, evictions={Eviction.IDLE: 2}, planned_bytes=900, measured_bytes=1000, load_s=1.5)
    told = page(model).splitlines()
    assert 'outpost_runner_evictions_total{model="hot",reason="idle"} 2' in told
    assert 'outpost_runner_evictions_total{model="hot",reason="memory"} 0' in told
    assert 'outpost_runner_planner_ratio{model="hot"} 0.9' in told
    assert 'outpost_runner_load_seconds{model="hot"} 1.5' in told
    assert "outpost_runner_planner_ratio{" not in page(STOPPED)


def test_of_very_many_models_the_loaded_ones_are_told() -> None:
    cold = [replace(STOPPED, name=f"cold{number}") for number in range(MOST_MODELS)]
    told = page(*cold, LOADED)
    assert 'outpost_runner_starts_total{model="hot"} 2' in told
    assert told.count("\noutpost_runner_starts_total{") == MOST_MODELS
