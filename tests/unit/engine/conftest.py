from __future__ import annotations

import pytest

from tests.fakes.fake_backend import FakeBackend, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> FakeBackend:
    return FakeBackend(clock=clock)
