from __future__ import annotations

import pytest

from provision.bootstrap.ninja import Progress, parse, render


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("  [66/193] /usr/bin/g++ -DX -o a.o -c a.cpp\n", Progress(done=66, total=193)),
        ("[193/193] : && ar\n", Progress(done=193, total=193)),
        ("-- Configuring done\n", None),
        ("  [0/0] nothing\n", None),
        ("warning: array[3/4] ", None),
    ],
)
def test_only_lines_of_ninja_tell_progress(line: str, progress: Progress | None) -> None:
    assert parse(line) == progress


def test_the_line_shows_bar_share_time_and_rest() -> None:
    assert render(Progress(done=50, total=200), elapsed_s=60.0) == (
        "[#######.......................]  25 %  50/200  1 min 0 s, about 3 min 0 s left"
    )


def test_the_first_steps_are_too_few_for_an_estimate() -> None:
    assert "left" not in render(Progress(done=4, total=200), elapsed_s=2.0)


def test_a_finished_build_has_no_rest() -> None:
    assert render(Progress(done=200, total=200), elapsed_s=8.0) == f"[{'#' * 30}] 100 %  200/200  8 s"
