"""How fast a runner decodes, as its frames come: what `baseline` is told of each request that ends.

Of the time between two steps only that counts in which the same sequences were decoded and no prompt was
computed: so prefills, arrivals and ends of others are no slowness of this request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.supervisor.baseline import Observation
from appliance.wire.messages import SetLimits, Step, Usage

_LEAST_STEPS: Final = 8
"""Of fewer nothing is told: they say little."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """The sums as a request was accepted."""

    steps: int
    seconds: float
    tokens: int
    at_s: float


class Tempo:
    """Owned by the runner's reader thread, but for `limit`, which takes any."""

    def __init__(self) -> None:
        self._marks: dict[int, _Mark] = {}
        self._steps = 0
        self._seconds = 0.0
        self._tokens = 0
        self._prefilling: set[int] = set()
        """Whose prompts are computed in more than one step, until their first token."""
        self._last_ids: list[int] = []
        self._last_at_s = 0.0
        self._is_paced = False
        self._paced_at_s: float | None = None
        """When it was last."""

    def limit(self, limits: SetLimits, now_s: float) -> None:
        paced = limits.duty < 1.0 or limits.pause_s > 0.0 or limits.token_budget is not None
        if paced or self._is_paced:
            self._paced_at_s = now_s
        self._is_paced = paced

    def accept(self, request_id: int, now_s: float) -> None:
        self._marks[request_id] = _Mark(self._steps, self._seconds, self._tokens, now_s)

    def forget(self, request_id: int) -> None:
        self._marks.pop(request_id, None)
        self._prefilling.discard(request_id)

    def step(self, step: Step, now_s: float) -> list[Observation]:
        """Of the requests that ended with it. PERF: once per engine step."""
        deltas = step.deltas
        ids = [delta.id for delta in deltas]
        self._prefilling.update(progress.id for progress in step.progress)
        if ids and ids == self._last_ids and not self._prefilling:
            self._steps += 1
            self._seconds += now_s - self._last_at_s
            self._tokens += len(ids)
        ended = [
            seen
            for delta in deltas
            if delta.usage is not None and (seen := self._ended(delta.id, delta.usage)) is not None
        ]
        self._prefilling.difference_update(ids)
        self._last_ids, self._last_at_s = ids, now_s
        return ended

    def _ended(self, request_id: int, usage: Usage) -> Observation | None:
        mark = self._marks.pop(request_id, None)
        if mark is None:
            return None
        steps, seconds = self._steps - mark.steps, self._seconds - mark.seconds
        if steps < _LEAST_STEPS or seconds <= 0:
            return None
        return Observation(
            batch=(self._tokens - mark.tokens) / steps,
            depth_tokens=usage.prompt_tokens + usage.completion_tokens,
            steps_per_s=steps / seconds,
            is_paced=self._is_paced or (self._paced_at_s is not None and self._paced_at_s >= mark.at_s),
        )
