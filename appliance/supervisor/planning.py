"""The thread that makes ladders: sizing a model may take a child process and seconds, and the loop waits for
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from queue import PriorityQueue
from typing import Final, Union

from appliance.errors import OutpostError, RunnerStartFailed, ShuttingDown
from appliance.log import logger
from appliance.planner.facts import Ladder
from appliance.supervisor.policy import ModelSpec

_log = logger("planning")

_JOIN_S = 5.0

MakeLadder = Callable[[ModelSpec, Sequence[int]], Ladder]
"""Also with budgets for which its sizes are to be exact. Blocks; raises OutpostError."""
First = Callable[[], None]
"""May block for seconds."""
Planned = Union[Ladder, OutpostError]
Answer = Callable[[Planned], None]
"""Called on the planning thread, or by `close`; must not block."""


class Rank(IntEnum):
    """In which order jobs are done."""

    LOAD = 0
    QUESTION = 1
    """Nothing is to be loaded: whoever asks waits for those who load."""
    END = 2


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Job:
    rank: Rank
    number: int
    """Of one rank the first comes first."""
    spec: ModelSpec | None = field(default=None, compare=False)
    """None: the thread ends."""
    answer: Answer = field(default=lambda _: None, compare=False)
    first: First = field(default=lambda: None, compare=False)
    budgets: Sequence[int] = field(default=(), compare=False)


_numbers: Final = count()


class Planning:
    """One job at a time; of loads each model has at most one. `submit` from any thread, `close` from the
    owner.
    """

    def __init__(self, make: MakeLadder) -> None:
        self._make = make
        self._jobs: PriorityQueue[_Job] = PriorityQueue()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="planning", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(
        self,
        spec: ModelSpec,
        answer: Answer,
        *,
        first: First = lambda: None,
        rank: Rank = Rank.LOAD,
        budgets: Sequence[int] = (),
    ) -> None:
        """`answer` is called once, also after `close`. `first` is done before; what it raises is the answer.
        `budgets`: in bytes, with which a rung may be chosen beside those that are known here.
        """
        if self._is_closed.is_set():
            answer(ShuttingDown())
            return
        number = next(_numbers)
        self._jobs.put(_Job(rank=rank, number=number, spec=spec, answer=answer, first=first, budgets=budgets))

    def close(self) -> None:
        """The job at hand ends; those behind it are answered with ShuttingDown."""
        self._is_closed.set()
        self._jobs.put(_Job(rank=Rank.END, number=next(_numbers)))
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while (job := self._jobs.get()).spec is not None:
            job.answer(ShuttingDown() if self._is_closed.is_set() else self._planned(job.spec, job))

    def _planned(self, spec: ModelSpec, job: _Job) -> Planned:
        try:
            job.first()
            return self._make(spec, job.budgets)
        except OutpostError as error:
            return error
        except Exception as error:  # noqa: BLE001  # top of a job: whoever waits must get an answer
            _log.exception("planning_fault", runner=spec.name)
            reason = f"its memory could not be planned: {type(error).__name__}: {error}"
            return RunnerStartFailed(model=spec.name, reason=reason)
