"""Predicted peaks hold against measured ones: four of the twenty loads of `make bench-memory`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.memory_cases import FAST
from tests.bench.memory_plan import measure, row

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_runner_takes_what_was_predicted_and_no_more(tmp_path: Path) -> None:
    outcomes = list(measure(FAST, tmp_path))
    assert len(outcomes) == 4
    assert all(outcome.holds for outcome in outcomes), "\n".join(row(outcome) for outcome in outcomes)
