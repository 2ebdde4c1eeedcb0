"""What a request wishes of the queue, and what the queue tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Priority(StrEnum):
    """Class of a request. It counts while requests wait; whoever runs is never interrupted for another."""

    REALTIME = "realtime"
    """Somebody waits for the answer."""
    BACKGROUND = "background"
    """Served when no realtime request waits, or when it has waited long (`FairQueue`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one who waits stands in the line of its model, if nobody came or left any more."""

    position: int
    """1: the next."""
    eta_s: float | None
    """Until its turn, guessed; None: nobody can tell (its model is not loaded yet, or it is held back)."""


@dataclass(slots=True, kw_only=True)
class Turn:
    """One request before the queue. Owned by the thread that asks, which also writes down what it hears."""

    priority: Priority = Priority.REALTIME
    deadline_s: float | None = None
    """From its arrival: past it nobody wants the answer. Also how long it waits, in the place of the
    configured patience.
    """
    request_id: str = ""
    arrived_at: Standing | None = field(default=None, init=False)
    """Where it stood when it came; None: it did not wait."""
    waited_s: float | None = field(default=None, init=False)
    """Until its turn, or until it was sent away; None: not yet."""

    def another(self, *, after_s: float = 0.0) -> Turn:
        """For one more part of the same request, so long after it came."""
        left_s = None if self.deadline_s is None else max(0.0, self.deadline_s - after_s)
        return Turn(priority=self.priority, deadline_s=left_s, request_id=self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks a model, and what he wishes beside the answer."""

    owner: str
    """Among whom the queue is fair."""
    turn: Turn | None = None
    """None: as anybody's; it also hears how long it took."""
    gone: Callable[[], bool] | None = None
    """Cheap, and asked at least every 0.25 s while he waits; once it is true the request leaves the queue (or
    is cancelled in the runner) and ClientGone is raised.
    """
    keep_alive_s: float | None = None
    """How long the model stays in memory after this request (infinite: until memory is needed); None: as long
    as configured.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One who waits, as `GET /v1/queue` shows it."""

    request_id: str
    model: str
    owner: str
    priority: Priority
    has_aged: bool
    """It waited so long that it counts as realtime."""
    waited_s: float
    deadline_in_s: float | None
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """The waiting room, for metrics. All but the first two count since the start."""

    waiting: dict[Priority, int]
    is_background_held: bool
    expired: dict[Priority, int]
    """Their deadline passed while they waited."""
    displaced: dict[Priority, int]
    """They gave their place to another in a full room."""
