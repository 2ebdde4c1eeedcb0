"""The seam between a runner's loop (`runner/serve.py`) and the engine: what the loop may ask of it.

The preparer thread calls `prepare` (template, tokenising, length check, grammar: everything that can refuse a
request); the main thread owns all the rest and calls it between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Union

from appliance.wire.messages import (
    Accepted,
    ApplyTemplate,
    Detokenize,
    Embed,
    EngineStats,
    Failed,
    Generate,
    ModelFacts,
    Rerank,
    Result,
    SetLimits,
    Step,
    Tokenize,
)

Prepared = object
"""A request that passed every check, opaque to the loop: an `engine.sequence` type."""

Said = Union[Accepted, Failed, Result, Step]


class EngineCore(Protocol):
    facts: ModelFacts

    def prepare(
        self,
        request: Union[Generate, Embed, Rerank, Tokenize, Detokenize, ApplyTemplate],
        is_wanted: Callable[[], bool],
    ) -> Prepared | Result:
        """Any thread. A Result when the request needs no step (tokenize …). Raises `errors.OutpostError`;
        ClientGone when `is_wanted` said no between two parts of the work.
        """

    def submit(self, prepared: Prepared) -> Sequence[Said]:
        """Main thread. Take it in; returns its `Accepted`."""

    def cancel(self, request_id: int) -> Sequence[Said]:
        """Main thread. Free it before the next step; unknown ids are ignored. What is still to say."""

    def set_limits(self, limits: SetLimits) -> None:
        """Main thread. The loop itself keeps the pauses (`runner/pacing.py`)."""

    def has_work(self) -> bool: ...

    def step(self) -> Sequence[Said]:
        """Main thread. One bounded step over all sequences; returns what to send.

        A failed request comes back as `Failed`; anything raised is the engine's fault and ends the runner.
        """

    def expected_s(self) -> float:
        """Main thread, with work at hand. At least so long the next step will take if it cannot be bounded;
        0 where it is.
        """

    def rest(self) -> None:
        """Main thread, now and then while there is no work: what can be done ahead, briefly."""

    def hibernate(self) -> None:
        """Main thread, last of all: what is worth it goes to disk, within the time that `Load` gives."""

    def stats(self) -> EngineStats: ...
