"""Every operation on the disk fails once while a model is optimised: as an error, as a full disk, and as the
death of the process. The model is what it was, or it is the variant; nothing is left aside.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.errors import OutpostError
from appliance.optimizing.verdict import Bounds
from appliance.store.check import check
from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.optimize import Optimizing
from appliance.store.store import ModelStore
from appliance.store.verbs import OptimizeWish
from tests.fakes.faulty_files import Death, FaultyFiles
from tests.fakes.model_files import generator, make_store
from tests.fakes.optimizing import FakeTools

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def opened(directory: Path, files: Files | None = None) -> ModelStore:
    given = Optimizing(tools=FakeTools(), bounds=Bounds())
    return make_store(directory, files=files, optimizing=given)


@pytest.mark.parametrize("kind", ["error", "full", "death"])
def test_a_failure_at_any_operation_leaves_the_model_or_the_whole_variant(tmp_path: Path, kind: str) -> None:
    prepared = opened(tmp_path / "prepared")
    prepared.import_file(generator(), "tiny", unreported)
    prepared.close()
    original, variant = generator().read_bytes(), generator(seed=2).read_bytes()
    seen, failed_at, finished = set(), 0, False
    while not finished:
        failed_at += 1
        directory = tmp_path / str(failed_at)
        shutil.copytree(tmp_path / "prepared", directory)
        files = FaultyFiles(fails_at=failed_at, full=kind == "full", dies=kind == "death")
        store = None
        with suppress(OutpostError, Death):
            store = opened(directory, files)
            store.optimize("tiny", unreported, wish=OptimizeWish())
        finished = files.operations < failed_at
        with suppress(OutpostError, Death):
            if store is not None:
                store.close()
        if store is not None and store.layout._lock is not None:
            store.layout._lock.close()

        again = opened(directory)
        (spec,) = again.serve_specs()
        assert spec.broken is None, failed_at
        served = spec.paths[0].read_bytes()
        assert served in {original, variant}, failed_at
        assert (served == variant) is bool(spec.optimized), failed_at
        seen.add(served == variant)
        assert not list(again.layout.places.ingest.iterdir()), failed_at
        again.close()
        assert check(directory / "store") == [], failed_at
        shutil.rmtree(directory)
    assert failed_at > 20
    assert seen == {False, True}
