"""Hibernation over fakes: threads that are none, and an engine that sleeps in a directory of the test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.engine.hibernation.hibernator import Hibernator, Surroundings
from appliance.engine.hibernation.porter import Porter
from appliance.engine.hibernation.shelf import Shelf
from appliance.engine.hibernation.snapshot import Head, Sealer, fingerprint_of, pack_tokens
from appliance.engine.hibernation.waking import Sleep
from appliance.wire.messages import Hibernation
from tests.fakes.fake_backend import FakeBackend, FakeClock

KEY: Final = b"k" * 32
FINGERPRINT: Final = fingerprint_of({"model": "fake"})


def never(_descriptor: int) -> None:
    """Nothing is synced: a disk that others use takes long for it."""


class AtOnce:
    """A worker that does its job while it is told to."""

    def submit(self, job: Callable[[], None], /) -> None:
        job()

    def close(self) -> None: ...


class Later:
    """A worker that does nothing until it is let."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], None], /) -> None:
        self.jobs.append(job)

    def let(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()

    def close(self) -> None: ...


def rules(directory: Path, *, limit_bytes: int = 1 << 20, stop_s: float = 1.0) -> Hibernation:
    return Hibernation(
        directory=str(directory),
        key=KEY,
        identity="fake",
        limit_bytes=limit_bytes,
        floor_bytes=0,
        min_tokens=6,
        write_bytes_per_min=1 << 20,
        stop_s=stop_s,
    )


def shelf_in(
    directory: Path,
    *,
    fingerprint: bytes = FINGERPRINT,
    key: bytes = KEY,
    floor_bytes: int = 0,
) -> Shelf:
    return Shelf(
        str(directory),
        sealer=Sealer(key),
        fingerprint=fingerprint,
        floor_bytes=floor_bytes,
        most_tokens=64,
    )


def head_of(
    tokens: Sequence[int], *, state_bytes: int = 8, owner: str = "alice", n_shared: int = 0, key: bytes = KEY
) -> Head:
    sealer = Sealer(key)
    return Head(
        fingerprint=FINGERPRINT,
        scope=sealer.scope(owner, ()),
        shared_scope=sealer.scope("shared", ()),
        tokens=pack_tokens(tokens),
        n_shared=n_shared,
        state_bytes=state_bytes,
    )


def state_of(n_bytes: int) -> NDArray[np.uint8]:
    return (np.arange(n_bytes) * 7 % 251).astype(np.uint8)


def sleeper(
    directory: Path,
    backend: FakeBackend,
    clock: FakeClock,
    *,
    told: Hibernation | None = None,
    fingerprint: bytes = FINGERPRINT,
    reader: AtOnce | Later | None = None,
    writer: AtOnce | Later | None = None,
    whole: bool = False,
) -> Sleep:
    told = told or rules(directory)
    porter = Porter(
        shelf_in(directory, fingerprint=fingerprint),
        writer=writer or AtOnce(),
        reader=reader or AtOnce(),
        sync=never,
        clock=clock,
    )
    around = Surroundings(
        backend=backend,
        porter=porter,
        sealer=Sealer(KEY),
        fingerprint=fingerprint,
        whole=whole,
        clock=clock,
    )
    return Sleep(hibernator=Hibernator(around, told), min_tokens=told.min_tokens, clock=clock)
