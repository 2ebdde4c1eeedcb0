"""Half a minute of `make soak`: loads, evictions, pressure, heat and crashes lose no request."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.soak import soaking, told

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_loads_evictions_pressure_heat_and_crashes_lose_no_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with soaking(tmp_path, seconds=35.0) as soak:
        soak.run()
        with capsys.disabled():
            print("\n" + told(soak))
        assert soak.lost == []
        assert soak.outcomes["answered"] >= 10
