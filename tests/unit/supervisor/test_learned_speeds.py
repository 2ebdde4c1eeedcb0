"""Baselines outlive the daemon, on the same board and build only."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.supervisor.baseline import Observation
from appliance.supervisor.learned_speeds import LearnedSpeeds
from appliance.supervisor.speed_watch import SpeedWatch

KEY = ("/m.gguf", "cpu", "2 threads")


def seen(rate: float, times: int, *, batch: float = 1) -> list[Observation]:
    return [Observation(batch=batch, depth_tokens=100, steps_per_s=rate)] * times


def learned(path: Path, standing: str = "here") -> LearnedSpeeds:
    return LearnedSpeeds(path, standing=lambda: standing)


def kept(path: Path) -> None:
    watch = SpeedWatch(learned(path).read)
    watch.observe(KEY, seen(20.0, 5), runner="m")
    watch.observe(("/other.gguf",), seen(9.0, 2), runner="other")
    known = watch.known()
    assert known is not None
    learned(path).write(known)


def test_a_board_that_comes_back_slow_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plans" / "speeds.json"
    kept(path)
    again = SpeedWatch(learned(path).read)
    again.observe(KEY, seen(5.0, 3), runner="m")
    assert again.degraded(KEY) == "decodes 5.0 tokens/s per sequence, 25% of its usual 20.0"


def test_what_is_not_known_yet_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    kept(path)
    assert dict(learned(path).read()) == {KEY: {(1, 10): 20.0}}


@pytest.mark.parametrize("standing", ["another build", "another board"])
def test_another_board_or_build_learns_anew(tmp_path: Path, standing: str) -> None:
    path = tmp_path / "speeds.json"
    kept(path)
    again = SpeedWatch(learned(path, standing).read)
    again.observe(KEY, seen(5.0, 3), runner="m")
    assert again.degraded(KEY) is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"format": 2, "standing": "here", "models": []}',
        b'{"format": 1, "standing": "here", "models": [{"key": 1}]}',
        b'{"format": 1, "standing": "here", "models": [{"key": ["m"], "usual": [[1, 10, -3.0]]}]}',
        b'{"format": 1, "standing": "here", "models": [{"key": ["m"], "usual": [[1, 10, 1e999]]}]}',
        b"x" * (2 * 1024 * 1024),
    ],
)
def test_garbage_is_nothing_known(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "speeds.json"
    path.write_bytes(garbage)
    assert all(not usual for usual in learned(path).read().values())


def test_nothing_is_written_without_news(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    file = learned(path)
    file.write({})
    assert not path.exists()
    file.write({KEY: {(1, 10): 20.0}})
    path.unlink()
    file.write({KEY: {(1, 10): 20.0}})
    assert not path.exists()
    file.write({KEY: {(1, 10): 21.0}})
    assert path.exists()


def test_a_place_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file")
    learned(tmp_path / "plans" / "speeds.json").write({KEY: {(1, 10): 20.0}})


def test_the_file_is_asked_once_and_when_it_is_needed(tmp_path: Path) -> None:
    asked: list[int] = []

    def recall() -> dict[tuple[str, ...], dict[tuple[int, int], float]]:
        asked.append(1)
        return {}

    watch = SpeedWatch(recall)
    assert watch.known() is None
    assert asked == []
    watch.observe(KEY, seen(20.0, 6), runner="m")
    assert asked == [1]
