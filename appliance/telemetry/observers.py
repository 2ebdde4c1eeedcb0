"""Several who count, as the one that the door tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from appliance.telemetry.spans import Traced


class Counting(Protocol):
    """`api.exchange.Observer`, as telemetry sees it."""

    def exchange_ended(self, exchange: Traced) -> None: ...

    def waiting(self) -> AbstractContextManager[None]: ...


class Observers:
    """Any thread, as each of them."""

    def __init__(self, observers: Sequence[Counting]) -> None:
        self._observers = tuple(observers)

    def exchange_ended(self, exchange: Traced) -> None:
        for observer in self._observers:
            observer.exchange_ended(exchange)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.waiting())
            yield
