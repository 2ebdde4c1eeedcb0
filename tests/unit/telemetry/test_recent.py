"""Readings that may be a little old."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

from appliance.telemetry.recent import Recent


def test_it_reads_once_until_it_is_old() -> None:
    now, numbers = [0.0], itertools.count()
    recent = Recent(lambda: next(numbers), max_age_s=10, clock=lambda: now[0])
    assert [recent(), recent()] == [0, 0]
    now[0] = 9.9
    assert recent() == 0
    now[0] = 10.0
    assert recent() == 1


def test_what_has_changed_is_read_again() -> None:
    numbers = itertools.count()
    recent = Recent(lambda: next(numbers), max_age_s=10, clock=lambda: 0.0)
    recent()
    recent.forget()
    assert recent() == 1


def test_who_comes_at_once_reads_once() -> None:
    numbers = itertools.count()
    recent = Recent(lambda: next(numbers), max_age_s=10, clock=lambda: 0.0)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(recent())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 8


def test_a_reading_that_fails_is_tried_again() -> None:
    answers: Iterator[int | OSError] = iter([OSError("no disk"), 7])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    recent = Recent(read, max_age_s=10, clock=lambda: 0.0)
    try:
        recent()
    except OSError:
        assert recent() == 7
