"""A store in a directory, and small real models to fill it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from appliance.config import StoreSettings
from appliance.errors import ModelInvalid
from appliance.store.content import Progress, Wanted
from appliance.store.files import Files
from appliance.store.gate import ProbeRequest
from appliance.store.opening import open_store
from appliance.store.optimize import Optimizing
from appliance.store.store import ModelStore
from tests.fakes import tiny_gguf


@cache
def generator(*, seed: int = 1, chat_template: str | None = tiny_gguf.CHATML) -> Path:
    """Written once for all tests; nobody changes it."""
    path = Path(mkdtemp(prefix="outpost-tests-")) / "generator.gguf"
    return tiny_gguf.write_generator(path, seed=seed, chat_template=chat_template)


@cache
def adapter() -> Path:
    return tiny_gguf.write_adapter(Path(mkdtemp(prefix="outpost-tests-")) / "adapter.gguf")


class Told:
    """A report that remembers."""

    def __init__(self) -> None:
        self.statuses: list[str] = []

    def __call__(self, progress: Progress) -> None:
        self.statuses.append(progress.status)


class UnsyncedFiles(Files):
    """For tests that nobody cuts the power of."""

    def fsync(self, descriptor: int) -> None:
        pass

    def fdatasync(self, descriptor: int) -> None:
        pass

    def fsync_dir(self, path: Path) -> None:
        pass


@dataclass
class FakeProbe:
    """Lets models in, but for those with a `fault`; remembers what it was asked."""

    fault: str | None = None
    """Of every model."""
    faults: dict[str, str] = field(default_factory=dict)
    """Of models that have one of these files, by the file's name (in a store its digest, in hex)."""
    placement_fault: str | None = None
    """Of every model that wishes a placement."""
    asked: list[ProbeRequest] = field(default_factory=list)

    def __call__(self, request: ProbeRequest, *, wanted: Wanted) -> None:
        wanted()
        self.asked.append(request)
        files = (*request.paths, *request.adapters, *((request.draft,) if request.draft else ()))
        found = [self.faults[path.name] for path in files if path.name in self.faults]
        if request.placement and self.placement_fault:
            found.append(self.placement_fault)
        for reason in (*found, *((self.fault,) if self.fault else ())):
            raise ModelInvalid(model=request.model, reason=reason)


@dataclass
class Changes:
    """Counts how often the store said that its models have changed."""

    count: int = 0

    def __call__(self) -> None:
        self.count += 1


def make_store(
    directory: Path,
    *,
    probe: FakeProbe | None = None,
    changes: Changes | None = None,
    files: Files | None = None,
    optimizing: Optimizing = Optimizing(),  # noqa: B008 - frozen
) -> ModelStore:
    """Without a floor, since the disk of a test may be full, and without waiting for the disk."""
    return open_store(
        directory,
        StoreSettings(floor_fraction=0.0),
        probe=probe or FakeProbe(),
        on_change=changes or Changes(),
        files=files or UnsyncedFiles(),
        optimizing=optimizing,
    )
