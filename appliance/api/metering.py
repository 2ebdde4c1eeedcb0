"""Tokens of one request as they are computed: told to its quotas and to the ledger, whatever becomes of it.

Accepted   the prompt is held             RateLimited, PromptExceedsQuota: it is closed at once
Progress   so much of the prompt is computed, and charged
Delta      the whole prompt is; and its tokens
usage      the runner's own count settles what is missing
close      what is held and was not computed is let go
"""

from __future__ import annotations

import threading
from typing import Protocol

from appliance.access.quotas import Admission
from appliance.errors import OutpostError
from appliance.supervisor.inference import Generation
from appliance.wire.messages import Accepted, Delta, Progress, Usage


class Ledger(Protocol):
    """Who keeps the accounts (`daemon/accounts.py`). Called from any thread; never blocks, never raises."""

    def computed(
        self, key: str, model: str, *, prompt_tokens: int, cached_tokens: int, output_tokens: int
    ) -> None: ...

    def ended(self, key: str, model: str, *, failed: bool, served_s: float) -> None:
        """One request. `model` empty: none was found for it."""


class Meter:
    """Of one exchange. Any thread: a request of many prompts has several."""

    def __init__(self, ledger: Ledger, *, key: str) -> None:
        self._ledger = ledger
        self._key = key
        self._lock = threading.Lock()
        self.admission: Admission | None = None
        """None: it was refused, or nothing bounds whoever asks. Set before anything is computed."""
        self.model = ""
        """Which answers, by its own name; set before anything is computed."""
        self.prompt_tokens = self.cached_tokens = self.output_tokens = 0

    def metered(self, generation: Generation) -> Metered:
        """Raises RateLimited, PromptExceedsQuota; `generation` is then closed."""
        try:
            return Metered(generation, self)
        except OutpostError:
            generation.close()
            raise

    def hold(self, tokens: int) -> None:
        if self.admission is not None:
            self.admission.hold(tokens)

    def drop(self, tokens: int) -> None:
        if self.admission is not None:
            self.admission.drop(tokens)

    def computed(self, *, prompt_tokens: int = 0, cached_tokens: int = 0, output_tokens: int = 0) -> None:
        if self.admission is not None:
            if prompt_tokens:
                self.admission.prompt(prompt_tokens)
            if output_tokens:
                self.admission.output(output_tokens)
        with self._lock:
            self.prompt_tokens += prompt_tokens
            self.cached_tokens += cached_tokens
            self.output_tokens += output_tokens
        self._ledger.computed(
            self._key,
            self.model,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            output_tokens=output_tokens,
        )

    def end(self, *, failed: bool, served_s: float) -> None:
        """Once, when the answer is sent or given up."""
        if self.admission is not None:
            self.admission.close()
        self._ledger.ended(self._key, self.model, failed=failed, served_s=served_s)


class Metered:
    """A `Generation` whose tokens are counted. Used by the one thread that asked."""

    def __init__(self, generation: Generation, meter: Meter) -> None:
        self._generation = generation
        self._meter = meter
        self._prompt_left = generation.accepted.prompt_tokens
        self._output = 0
        self._is_over = False
        meter.hold(self._prompt_left)

    @property
    def accepted(self) -> Accepted:
        return self._generation.accepted

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        try:
            items = self._generation.next(timeout_s)
        except BaseException:
            self._is_over = True
            raise
        if items:
            self._count(items)
        return items

    def close(self) -> None:
        """What has been computed and was not fetched is paid all the same."""
        if not self._is_over:
            try:
                self.next(0.0)
            except OutpostError:
                self._is_over = True
        self._is_over = True
        self._generation.close()
        left, self._prompt_left = self._prompt_left, 0
        if left > 0:
            self._meter.drop(left)

    def _count(self, items: list[Delta | Progress]) -> None:
        """One charge for all that came at once."""
        whole, left, output = self.accepted.prompt_tokens, self._prompt_left, 0
        usage: Usage | None = None
        for item in items:
            if isinstance(item, Progress):
                left = min(left, max(0, whole - item.done_tokens))
                continue
            left = 0
            output += item.tokens
            usage = item.usage or usage
        prompt, cached = self._prompt_left - left, 0
        self._prompt_left = left
        if usage is not None:
            self._is_over = True
            prompt += max(0, usage.prompt_tokens - whole)
            cached = usage.cached_tokens
            output += max(0, usage.completion_tokens - self._output - output)
        self._output += output
        if prompt or cached or output:
            self._meter.computed(prompt_tokens=prompt, cached_tokens=cached, output_tokens=output)
