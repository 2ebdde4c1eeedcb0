from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from appliance.cli.progress import Bars, JsonLines, PlainLines, Step, bar_line, progress_on

GB = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def screen(written: str) -> list[str]:
    """What stands on a terminal that knows "cursor up", "clear line", CR and LF."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[\d*[AK]|\r|\n|[^\x1b\r\n]+", written):
        if part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif part in {"\x1b[K", "\r"}:
            lines[row] = ""
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        else:
            lines[row] += part
    return lines[:-1]


def pulling(completed: int, total: int = 4 * GB, digest: str = "sha256:a") -> dict[str, Any]:
    return {"status": "pulling 6a0746a1ec1a", "digest": digest, "total": total, "completed": completed}


def step_at(*samples: tuple[float, int], total: int = 4 * GB) -> Step:
    step = Step("pulling 6a0746a1ec1a")
    for now_s, completed in samples:
        step.add(pulling(completed, total), now_s)
    return step


def test_the_rate_is_that_of_the_last_seconds() -> None:
    step = step_at((0, 0), (1, GB), (6, GB), (10, GB), (12, GB + 60_000_000))
    assert step.bytes_per_s == pytest.approx(10_000_000)
    assert step.left_s == pytest.approx(294)


def test_what_an_earlier_try_has_left_is_no_speed() -> None:
    step = step_at((0, 3 * GB))
    assert step.bytes_per_s is None
    step.add(pulling(3 * GB + 1000), 1.0)
    assert step.bytes_per_s == pytest.approx(1000)


def test_a_rate_without_gain_is_not_told() -> None:
    assert step_at((0, 5), (1, 5)).bytes_per_s is None


def test_a_line_has_bar_amount_rate_and_time_left() -> None:
    step = step_at((0, 0), (2, GB))
    assert bar_line(step, 90) == (
        "pulling 6a0746a1ec1a:  25% ▕" + "█" * 6 + "▌".ljust(20) + "▏ 1.0 GB/4.0 GB  500 MB/s  6s"
    )


def test_a_complete_step_tells_its_size_only() -> None:
    line = bar_line(step_at((0, 0), (2, 4 * GB)), 90)
    assert line.startswith("pulling 6a0746a1ec1a: 100% ▕██")
    assert line.endswith("█▏ 4.0 GB")


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    for completed in (0, 1, GB, 4 * GB):
        assert len(bar_line(step_at((0, 0), (1, completed)), columns)) < columns


def test_an_empty_blob_is_complete() -> None:
    assert "100%" in bar_line(step_at((0, 0), total=0), 80)


def test_a_pipe_gets_a_line_at_begin_and_end_and_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainLines(stream, clock=clock)
    progress.show({"status": "pulling manifest"})
    for second in range(25):
        clock.now_s = float(second)
        progress.show(pulling(second * 100_000_000))
    for _ in range(3):
        progress.show(pulling(4 * GB))
    progress.show({"status": "success"})
    progress.end()
    assert stream.getvalue().splitlines() == [
        "pulling manifest",
        "pulling 6a0746a1ec1a: 0%  0 B/4.0 GB",
        "pulling 6a0746a1ec1a: 25%  1.0 GB/4.0 GB  100 MB/s  30s",
        "pulling 6a0746a1ec1a: 50%  2.0 GB/4.0 GB  100 MB/s  20s",
        "pulling 6a0746a1ec1a: 100%  4.0 GB/4.0 GB",
        "success",
    ]


def test_bars_are_drawn_in_place_and_finished_ones_stay() -> None:
    clock, stream = Clock(), io.StringIO()
    bars = Bars(stream, clock=clock, columns=lambda: 80)
    bars.show({"status": "pulling manifest"})
    for completed in (0, GB, 2 * GB, 4 * GB):
        clock.now_s += 1
        bars.show(pulling(completed))
        bars.show(pulling(completed, digest="sha256:b"))
    bars.show({"status": "writing manifest"})
    bars.show(pulling(4 * GB))
    bars.show({"status": "success"})
    bars.end()
    lines = screen(stream.getvalue())
    assert lines[0] == "pulling manifest"
    assert [line[:27] for line in lines[1:3]] == ["pulling 6a0746a1ec1a: 100% "] * 2
    assert lines[3:] == ["writing manifest", "success"]


def test_bars_are_redrawn_at_most_ten_times_a_second() -> None:
    clock, stream = Clock(), io.StringIO()
    bars = Bars(stream, clock=clock, columns=lambda: 80)
    for number in range(1000):
        clock.now_s = number / 1000
        bars.show(pulling(number))
    assert stream.getvalue().count("\n") <= 11


def test_what_a_registry_says_cannot_move_the_cursor() -> None:
    for progress_of in (PlainLines, Bars):
        stream = io.StringIO()
        progress = progress_of(stream)
        progress.show({"status": "pulling \x1b]0;owned\x07\x1b[2Jx"})
        progress.end()
        assert "\x1b]" not in stream.getvalue()
        assert "\x1b[2J" not in stream.getvalue()


@pytest.mark.parametrize("odd", [{}, {"status": None}, {"status": 5, "total": "x", "completed": -1}])
def test_odd_lines_of_another_server_are_no_fault(odd: dict[str, Any]) -> None:
    for progress in (PlainLines(io.StringIO()), Bars(io.StringIO(), columns=lambda: 80)):
        progress.show(odd)
        progress.end()


def test_json_is_passed_on_line_by_line() -> None:
    stream = io.StringIO()
    progress = progress_on(stream, as_json=True)
    assert isinstance(progress, JsonLines)
    progress.show(pulling(5))
    progress.show({"status": "success", "name": "ä"})
    progress.end()
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        pulling(5),
        {"status": "success", "name": "ä"},
    ]
