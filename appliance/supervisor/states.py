"""The states a model's runner passes through, and the only ways between them."""

from __future__ import annotations

from enum import StrEnum


class RunnerState(StrEnum):
    STOPPED = "stopped"
    """No process; a request starts one."""
    STARTING = "starting"
    """Asked for, waiting for memory, spawned or loading."""
    READY = "ready"
    DRAINING = "draining"
    """Running requests finish; no new ones."""
    STOPPING = "stopping"
    """Told to end; its process may still be there."""
    FAILED = "failed"
    """The last attempt ended in a fault; back-off or quarantine decides about the next."""


class Eviction(StrEnum):
    """Why a ready runner was put out of memory."""

    IDLE = "idle"
    """Nobody asked it for its keep-alive."""
    MEMORY = "memory"
    """Another model needed its room, or the machine did."""
    WISH = "wish"
    """An operator's, or a request's `keep_alive` of 0."""


_NEXT: dict[RunnerState, frozenset[RunnerState]] = {
    RunnerState.STOPPED: frozenset({RunnerState.STARTING}),
    RunnerState.STARTING: frozenset(
        {RunnerState.READY, RunnerState.STOPPING, RunnerState.FAILED, RunnerState.STOPPED}
    ),
    RunnerState.READY: frozenset({RunnerState.DRAINING, RunnerState.STOPPING, RunnerState.FAILED}),
    RunnerState.DRAINING: frozenset({RunnerState.STOPPING, RunnerState.FAILED}),
    RunnerState.STOPPING: frozenset({RunnerState.STOPPED}),
    RunnerState.FAILED: frozenset({RunnerState.STARTING, RunnerState.STOPPED}),
}


class IllegalTransition(RuntimeError):
    """A bug of ours, never an answer to a caller."""

    def __init__(self, old: RunnerState, new: RunnerState) -> None:
        super().__init__(f"a runner cannot go from {old} to {new}")


def advance(old: RunnerState, new: RunnerState) -> RunnerState:
    """`new`, if the table allows it from `old`; raises IllegalTransition otherwise."""
    if new not in _NEXT[old]:
        raise IllegalTransition(old, new)
    return new
