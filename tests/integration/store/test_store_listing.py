"""How long a list of many models takes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from appliance.store.content import unreported
from tests.fakes.model_files import generator, make_store

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(60)]

MAX_S = 0.5
"""The goal is 0.1 s; a machine that builds something else at the same time is given more."""


def test_two_hundred_models_are_listed_in_a_moment(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.import_file(generator(), "tiny", unreported)
    for number in range(200):
        store.create(f"m{number}", f"FROM tiny\nSYSTEM number {number}", unreported)
    store.close()
    store = make_store(tmp_path)
    began = time.perf_counter()
    first = store.list()
    cold_s = time.perf_counter() - began
    began = time.perf_counter()
    store.list()
    warm_s = time.perf_counter() - began
    print(f"cold {cold_s:.3f} s, warm {warm_s:.3f} s")
    assert len(first) == 201
    assert cold_s < MAX_S
    assert warm_s < MAX_S
    store.close()
