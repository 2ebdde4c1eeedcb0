"""What the engine knows of one request and of each of its choices. Owned by the engine's thread after
`prepare` built them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import Sampler
from appliance.engine.grammar_turns import Turn
from appliance.engine.hibernation.porter import Ticket
from appliance.engine.kv_cache import Scope, Slot
from appliance.engine.lookup import PromptLookup
from appliance.engine.output import OutputStream
from appliance.engine.speculation import Acceptance
from appliance.wire.messages import Generate


class Status(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True)
class Sequence:
    """One choice of one request."""

    request: ActiveRequest
    choice: int
    tokens: list[int]
    """Prompt, then what was generated."""
    limit: int
    """Most tokens `tokens` may grow to."""
    sampler: Sampler
    output: OutputStream
    lookup: PromptLookup | None
    """None: no speculation for this one."""
    special_pieces: frozenset[int] = frozenset()
    """Control tokens that are shown as text, because the chat parser looks for them."""
    echo: str = ""
    """Text put in front of the answer."""
    status: Status = Status.WAITING
    arrived: int = 0
    slot: int = -1
    n_computed: int = 0
    n_cached: int = 0
    """Prompt tokens that were reused, not computed."""
    awaits: Slot | None = None
    """Waiting for this slot, which computes our prefix since step `awaits_since`."""
    awaits_since: int = 0
    ticket: Ticket | None = None
    """Waiting for this snapshot, at most until `wake_by_s`."""
    wake_by_s: float | None = None
    is_awake: bool = False
    """The snapshots on disk were asked, and have given what they had for it."""
    model_guesses: Acceptance | None = None
    """Of the draft model; None: no speculation for this one."""
    draft: list[int] = field(default_factory=list)
    drafted_by: Acceptance | PromptLookup | None = None
    """Who is to learn what became of the draft."""
    last_step: int = 0
    """When it was last computed."""
    has_grammar: bool = False
    unsampled: NDArray[np.float32] | None = None
    """Logits of its last token, while it waits for its turn (`grammar_turns.py`)."""
    turn: Turn = field(default_factory=Turn)

    @property
    def n_prompt(self) -> int:
        return len(self.request.prompt_tokens)

    @property
    def n_generated(self) -> int:
        return len(self.tokens) - self.n_prompt

    @property
    def remaining_prompt(self) -> int:
        """Prompt tokens not computed yet; 0 when it decodes."""
        return max(0, self.n_prompt - self.n_computed)


@dataclass(slots=True)
class ActiveRequest:
    """One Generate on its way through the engine."""

    generate: Generate
    prompt_tokens: list[int]
    scope: Scope
    sequences: list[Sequence] = field(default_factory=list)
    submitted_s: float = 0.0
    started_s: float | None = None
    first_token_s: float | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    draft_accepted_tokens: int = 0
    progress_at_s: float = 0.0

    @property
    def id(self) -> int:
        return self.generate.id

    @property
    def adapters(self) -> tuple[tuple[str, float], ...]:
        return self.scope.adapters

    @property
    def completion_tokens(self) -> int:
        return sum(sequence.n_generated for sequence in self.sequences)

    @property
    def finished(self) -> bool:
        return all(sequence.status is Status.FINISHED for sequence in self.sequences)
