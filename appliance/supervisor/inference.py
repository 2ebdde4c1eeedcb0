"""The seam between the doors (`api/`) and the supervisor: what a handler thread may ask of it.

Flow 1 (chat), the part between middleware and frames. The tests' fake is one more implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, Union

from appliance.planner.facts import Conceded
from appliance.planner.fit_answer import FitAnswer
from appliance.supervisor.fit_wish import FitWish
from appliance.supervisor.policy import ModelDefaults
from appliance.supervisor.turn import Asker, Standing, Waiting
from appliance.wire.messages import (
    Accepted,
    ApplyTemplate,
    Delta,
    Detokenize,
    Embed,
    Generate,
    ModelFacts,
    Progress,
    Rerank,
    Result,
    Tokenize,
)

Call = Union[Embed, Rerank, Tokenize, Detokenize, ApplyTemplate]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One model as the doors show it."""

    name: str
    created_s: int
    """Unix time of the file."""
    size_bytes: int
    state: str
    """A `states.RunnerState`: stopped, starting, ready, draining, stopping, failed."""
    facts: ModelFacts | None
    """None until the model was loaded once."""
    reason: str | None = None
    """Why it is failed, quarantined or broken."""
    defaults: ModelDefaults = field(default_factory=ModelDefaults)
    conceded: tuple[Conceded, ...] = ()
    """What its placement gives up of what was asked for, so that it fits; while it is loaded."""
    variant: str | None = None
    """The smaller model that stands in, for the same reason."""
    alarm: str | None = None
    """Why its placement is not what it was to be."""


class Generation(Protocol):
    """A running generation. Used by the one thread that asked for it."""

    @property
    def accepted(self) -> Accepted: ...

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        """What came since the last call, waiting up to `timeout_s`; None: nothing came (send a heartbeat and
        ask again).

        The Delta with `usage` is the last. Raises the typed error that ended the request in mid-work
        (RunnerDied, RunnerHung, EngineFault, …); after that, and after the last Delta, it must not be called
        again.
        """

    def close(self) -> None:
        """Give the lease back; cancels what still runs. Idempotent, never raises, never blocks."""


class Pending(Protocol):
    """A generation that waits for its turn. Used by the one thread that asked for it."""

    def next(self, timeout_s: float) -> Generation | None:
        """The generation once it is `Accepted`, waiting up to `timeout_s`; None: not yet. Raises as
        `Inference.generate` does; after that it is over.
        """

    def standing(self) -> Standing | None:
        """Where it stands in the queue, as of a moment ago; None: nothing is known of it, or it is its
        turn.
        """

    def close(self) -> None:
        """It is not wanted any more; not for one whose generation was handed out. Idempotent, never
        raises.
        """


class Inference(Protocol):
    """What a handler thread may ask. Every method may be called from any thread."""

    def models(self) -> Sequence[ModelCard]: ...

    def find(self, model: str) -> ModelCard:
        """The model that this name means: case does not count, and `:latest` may be left out. Raises
        ModelNotFound, InvalidReference.
        """

    def stand_in(self, model: str) -> str | None:
        """The model that answers instead while it is too hot; None: no other."""

    def generate(self, model: str, request: Generate, *, asker: Asker) -> Generation:
        """Queue fairly among owners, load if needed, send, and wait for `Accepted`. `request.id` is set by
        the supervisor.

        Blocks up to the configured patience, or to the deadline of its turn. Raises every fault known before
        work starts as its type: ModelNotFound, Overloaded (at once when the queue is full), ModelLoading,
        DeadlineExceeded, ContextLengthExceeded, InvalidRequest, ClientGone, RunnerDied …
        """

    def begin(self, model: str, request: Generate, *, asker: Asker) -> Pending:
        """`generate`, for who has something to say while it waits. Does not block."""

    def call(self, model: str, request: Call, *, asker: Asker) -> Result:
        """The same for everything that is not a generation; returns its one Result."""

    def load(self, model: str, *, asker: Asker) -> ModelCard:
        """Bring it into memory and ask it nothing. Queues, blocks and raises as `generate`."""

    def unload(self, model: str) -> ModelCard:
        """Out of memory, pinned or not: it takes no new requests, finishes those it has, and ends; who comes
        later starts it anew. Returns at once. Raises ModelNotFound, InvalidReference.
        """

    def fit(self, model: str, wish: FitWish, *, asker: Asker) -> FitAnswer:
        """Whether it would be let into memory if it were asked for now, and how; loads and evicts nothing.
        Blocks for half a minute at most. Raises ModelNotFound, InvalidReference, ModelBroken, ModelInvalid,
        InvalidRequest, Overloaded, DeadlineExceeded, ClientGone.
        """

    def waiting(self, *, owner: str | None = None) -> Sequence[Waiting]:
        """All who wait, or those of `owner`; of each model in the order of their turns."""
