"""The models there are now, and those that leave: a pure owner of desks, without thread, clock or process.

    set_models ─┬─ new key ────────────── a desk, which begins
                ├─ same load ──────────── the desk gets its new description; its runner stays
                ├─ other files or load ── the old desk leaves; the new one takes over who waits, and starts
                │                         when the old runner has ended: no model is in memory twice
                └─ key gone ───────────── the desk leaves; who waits is told ModelNotFound

A desk that leaves lets its running requests finish. It is dropped when its runner has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from appliance.errors import ModelNotFound
from appliance.supervisor.desk import Desk
from appliance.supervisor.effects import Waiter
from appliance.supervisor.names import Resolve
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.states import Eviction

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Leaving(Generic[R]):
    key: str
    desk: Desk[R]


class Catalog(Generic[R]):
    """Owned by the supervisor thread."""

    def __init__(self, *, make: Callable[[ModelSpec], Desk[R]], resolve: Resolve) -> None:
        self._make = make
        self._resolve = resolve
        self._desks: dict[str, Desk[R]] = {}
        self._leaving: list[_Leaving[R]] = []
        self._is_draining = False

    @property
    def desks(self) -> Mapping[str, Desk[R]]:
        """Of the models there are, by key."""
        return MappingProxyType(self._desks)

    @property
    def leaving(self) -> Sequence[Desk[R]]:
        return [one.desk for one in self._leaving]

    def __iter__(self) -> Iterator[Desk[R]]:
        """All that may have a runner."""
        yield from self._desks.values()
        yield from self.leaving

    def find(self, key: str, *, asked: str) -> Desk[R]:
        """Raises ModelNotFound for the name that was `asked`."""
        desk = self._desks.get(key)
        if desk is None:
            raise self.not_found(asked)
        return desk

    # ── which models there are ─────────────────────────────────────────────────────────────────────────────

    def set_models(self, specs: Sequence[ModelSpec], now_s: float) -> None:
        """From now on these and no others. Of two with one key the first counts."""
        wanted = {self._resolve(spec.name): spec for spec in reversed(specs)}
        for key in self._desks.keys() - wanted.keys():
            self._remove(key, now_s)
        for spec in specs:
            if wanted.get(self._resolve(spec.name)) is spec:
                self.add(spec, now_s)

    def add(self, spec: ModelSpec, now_s: float) -> None:
        """A new model, or another state of one that is there."""
        if self._is_draining:
            return
        key = self._resolve(spec.name)
        old = self._desks.get(key)
        if old is not None and old.spec.loads_like(spec):
            old.describe(spec, now_s)
            return
        waiting = [] if old is None else self._retire(key, old, now_s)
        desk = self._make(spec)
        desk.is_held_back = any(one.key == key and not one.desk.is_over for one in self._leaving)
        self._desks[key] = desk
        desk.begin(now_s)
        for ticket in waiting:
            desk.acquire(ticket, now_s)

    def remove(self, name: str, now_s: float) -> None:
        """Unknown names are ignored: it is gone already."""
        key = self._resolve(name)
        if key in self._desks:
            self._remove(key, now_s)

    def _remove(self, key: str, now_s: float) -> None:
        desk = self._desks.pop(key)
        for ticket in self._retire(key, desk, now_s):
            ticket.answer(self.not_found(desk.spec.name))

    def _retire(self, key: str, desk: Desk[R], now_s: float) -> list[Waiter[R]]:
        self._leaving.append(_Leaving(key, desk))
        return desk.retire(now_s)

    # ── requests ───────────────────────────────────────────────────────────────────────────────────────────

    def acquire(self, key: str, ticket: Waiter[R], now_s: float, *, asked: str) -> None:
        """Answered by the desk of this key, or at once with ModelNotFound for the name that was `asked`."""
        desk = self._desks.get(key)
        if desk is None:
            ticket.answer(self.not_found(asked))
        else:
            desk.acquire(ticket, now_s)

    def release(self, key: str, ticket: Waiter[R], now_s: float, *, succeeded: bool) -> None:
        """Its lease may be one of a desk that has left since; desks ignore tickets they do not know."""
        for desk in (self._desks.get(key), *(one.desk for one in self._leaving if one.key == key)):
            if desk is not None:
                desk.release(ticket, now_s, succeeded=succeeded)

    def unload(self, key: str, now_s: float) -> None:
        """The operator's wish; see `Desk.give_way`."""
        desk = self._desks.get(key)
        if desk is not None:
            desk.give_way(now_s, Eviction.WISH)

    def not_found(self, asked: str) -> ModelNotFound:
        return ModelNotFound(model=asked, available=sorted(desk.spec.name for desk in self._desks.values()))

    # ── time, and the end ──────────────────────────────────────────────────────────────────────────────────

    def tick(self, now_s: float) -> None:
        """After every event: timers, and what follows from a runner's end."""
        for desk in self:
            desk.tick(now_s)
        if not any(one.desk.is_over for one in self._leaving):
            return
        self._leaving = [one for one in self._leaving if not one.desk.is_over]
        held = {one.key for one in self._leaving}
        for key, desk in self._desks.items():
            if desk.is_held_back and key not in held:
                desk.let_go(now_s)

    def drain(self, now_s: float) -> None:
        self._is_draining = True
        for desk in self:
            desk.drain(now_s)

    def halt(self) -> None:
        for desk in self:
            desk.halt()

    @property
    def is_over(self) -> bool:
        """Drained, and every runner has ended."""
        return self._is_draining and all(desk.is_over for desk in self)
