"""The thread that makes ladders: sizing a model may take a child process and seconds, and the loop waits for
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Union

from appliance.errors import OutpostError, RunnerStartFailed, ShuttingDown
from appliance.log import logger
from appliance.planner.facts import Ladder
from appliance.supervisor.policy import ModelSpec

_log = logger("planning")

_JOIN_S = 5.0

MakeLadder = Callable[[ModelSpec], Ladder]
"""Blocks; raises OutpostError."""
First = Callable[[], None]
"""May block for seconds."""
Planned = Union[Ladder, OutpostError]
Answer = Callable[[Planned], None]
"""Called on the planning thread, or by `close`; must not block."""


class Planning:
    """One job at a time, in order; each model has at most one. `submit` from any thread, `close` from the
    owner.
    """

    def __init__(self, make: MakeLadder) -> None:
        self._make = make
        self._jobs: SimpleQueue[tuple[ModelSpec, Answer, First | None] | None] = SimpleQueue()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="planning", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, spec: ModelSpec, answer: Answer, *, first: First | None = None) -> None:
        """`answer` is called once, also after `close`. `first` is done before."""
        if self._is_closed.is_set():
            answer(ShuttingDown())
        else:
            self._jobs.put((spec, answer, first))

    def close(self) -> None:
        """The job at hand ends; those behind it are answered with ShuttingDown."""
        self._is_closed.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            spec, answer, first = job
            answer(ShuttingDown() if self._is_closed.is_set() else self._planned(spec, first))

    def _planned(self, spec: ModelSpec, first: First | None) -> Planned:
        try:
            if first is not None:
                first()
            return self._make(spec)
        except OutpostError as error:
            return error
        except Exception as error:  # noqa: BLE001  # top of a job: the desk must get its answer
            _log.exception("planning_fault", runner=spec.name)
            reason = f"its memory could not be planned: {type(error).__name__}: {error}"
            return RunnerStartFailed(model=spec.name, reason=reason)
