"""Many verbs at once on one store: nobody sees half a model, and nothing that is needed is collected."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.store.check import check
from appliance.store.content import unreported
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator, make_store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def churn(store: ModelStore, number: int) -> None:
    for turn in range(8):
        store.create(f"m{number}", f"FROM tiny\nSYSTEM {number} {turn}", unreported)
        store.copy(f"m{number}", f"c{number}")
        assert all(row.broken is None for row in store.list())
        store.remove(f"c{number}")
        store.gc()
        assert all(spec.broken is None for spec in store.serve_specs())
        assert store.show(f"m{number}").system == f"{number} {turn}"


def test_four_threads_build_copy_remove_and_collect_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.import_file(generator(), "tiny", unreported)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(churn, store, number) for number in range(4)]:
            done.result()
    assert len(store.list()) == 5
    assert not store.verify(None, unreported).broken
    store.close()
    assert check(tmp_path / "store") == []


def test_two_imports_of_one_file_at_once_share_their_blob(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(store.import_file, generator(), name, unreported) for name in ("a", "b")]:
            done.result()
    assert [row.unique_bytes for row in store.list()] == [0, 0]
    store.close()
