"""How much each key has taken of what it may, and who is refused. `quota_rules.py` decides.

    admit ──► hold(prompt) ──► prompt(n)… output(n)… ──► close
      │           │ the prompt is counted, and nothing computed
      └ RateLimited └ RateLimited, PromptExceedsQuota

Tokens are charged when they are computed, so whoever is cancelled or fails pays for what was computed for
him and for no more. Prompt tokens that were found in the cache count in full: what a request may cost must
not depend on who came before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.access import quota_rules as rules
from appliance.access.grants import Bounds, Grant
from appliance.access.quota_rules import Allowance, Bound, Counts, Load, Refusal
from appliance.errors import OutpostError, PromptExceedsQuota, RateLimited

_SECOND_NS: Final = 1e9
_NO_BOUNDS: Final = Bounds()


@dataclass(slots=True)
class _Key:
    """Guarded by the lock of `Quotas`."""

    counts: Counts = field(default_factory=Counts)
    running: int = 0
    held: int = 0

    @property
    def load(self) -> Load:
        return Load(running=self.running, held=self.held)


class Quotas:
    """Any thread; one lock around all counts."""

    def __init__(
        self,
        clock_ns: Callable[[], int],
        *,
        defaults: Bounds = _NO_BOUNDS,
        kept: Mapping[str, Counts] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`clock_ns` must never go back (`account_clock.py`). `kept`: from an earlier life, by key.
        `on_change` is called under the lock, whenever there is something for `changed`.
        """
        self._clock_ns = clock_ns
        self._on_change = on_change
        self._defaults = defaults
        self._lock = threading.Lock()
        self._keys: dict[str, _Key] = {key: _Key(counts) for key, counts in (kept or {}).items()}
        self._changed: set[str] = set()
        self._refused = dict.fromkeys(Bound, 0)

    def admit(self, grant: Grant) -> Admission:
        """One request begins. The caller must close what it gets. Raises RateLimited."""
        bounds = rules.bounds_of(grant.bounds, self._defaults)
        with self._lock:
            key, now_ns = self._keys.setdefault(grant.key_id, _Key()), self._clock_ns()
            refusal = rules.refusal_of_request(bounds, key.counts, key.load, now_ns)
            if refusal is not None:
                raise self._refusal(refusal)
            self._set(grant.key_id, key, rules.with_request(bounds, key.counts, now_ns))
            key.running += 1
        return Admission(self, grant.key_id, bounds)

    def allowances(self, grant: Grant) -> list[Allowance]:
        """How it stands with each bound that the key has."""
        bounds = rules.bounds_of(grant.bounds, self._defaults)
        with self._lock:
            key = self._keys.get(grant.key_id, _Key())
            return rules.allowances(bounds, key.counts, key.load, self._clock_ns())

    @property
    def refused(self) -> Mapping[Bound, int]:
        """Requests, since the start."""
        with self._lock:
            return dict(self._refused)

    def changed(self, *, whole: bool = False) -> dict[str, Counts | None]:
        """What is other than at the last call, for who keeps it. None: nothing is owed any more, and the key
        is forgotten. `whole`: of all keys.
        """
        with self._lock:
            now_ns, keys = self._clock_ns(), set(self._keys) if whole else self._changed
            told: dict[str, Counts | None] = {}
            for key_id in keys:
                key = self._keys[key_id]
                is_over = key.running == 0 and rules.is_blank(key.counts, now_ns)
                told[key_id] = None if is_over else key.counts
            self._changed = set()
            for key_id in [key_id for key_id, counts in told.items() if counts is None]:
                del self._keys[key_id]
            return told

    # ── what an admission asks ──────────────────────────────────────────────────────────────────────

    def hold(self, key_id: str, bounds: Bounds, tokens: int) -> None:
        """Raises RateLimited, PromptExceedsQuota."""
        with self._lock:
            key = self._keys[key_id]
            refusal = rules.refusal_of_prompt(bounds, key.counts, key.load, self._clock_ns(), tokens)
            if refusal is not None:
                raise self._refusal(refusal, tokens=tokens)
            key.held += tokens

    def charge(self, key_id: str, bounds: Bounds, tokens: int, *, from_held: int = 0) -> None:
        with self._lock:
            key = self._keys[key_id]
            key.held -= from_held
            self._set(key_id, key, rules.with_tokens(bounds, key.counts, self._clock_ns(), tokens))

    def leave(self, key_id: str, *, held: int) -> None:
        with self._lock:
            key = self._keys[key_id]
            key.held -= held
            key.running -= 1
            self._changed.add(key_id)

    def _set(self, key_id: str, key: _Key, counts: Counts) -> None:
        if counts != key.counts:
            key.counts = counts
            self._changed.add(key_id)
            self._on_change()

    def _refusal(self, refusal: Refusal, *, tokens: int = 0) -> OutpostError:
        self._refused[refusal.bound] += 1
        if refusal.wait_ns is None:
            return PromptExceedsQuota(bound=refusal.bound.value, limit=refusal.limit, prompt_tokens=tokens)
        return RateLimited(
            bound=refusal.bound.value,
            limit=refusal.limit,
            used=refusal.used,
            retry_after_s=refusal.wait_ns / _SECOND_NS,
        )


class Admission:
    """One request that was let in. Any thread, for the parts of a request may have one each."""

    def __init__(self, quotas: Quotas, key_id: str, bounds: Bounds) -> None:
        self._quotas = quotas
        self._key_id = key_id
        self._bounds = bounds
        self._lock = threading.Lock()
        self._held = 0
        self._is_over = False

    def hold(self, tokens: int) -> None:
        """A prompt of so many tokens is about to be computed. Raises RateLimited, PromptExceedsQuota."""
        with self._lock:
            if not self._is_over:
                self._quotas.hold(self._key_id, self._bounds, tokens)
                self._held += tokens

    def prompt(self, tokens: int) -> None:
        """So many of those held are computed."""
        with self._lock:
            if not self._is_over:
                held = min(tokens, self._held)
                self._held -= held
                self._quotas.charge(self._key_id, self._bounds, tokens, from_held=held)

    def output(self, tokens: int) -> None:
        with self._lock:
            if not self._is_over:
                self._quotas.charge(self._key_id, self._bounds, tokens)

    def drop(self, tokens: int) -> None:
        """So many of those held will not be computed."""
        with self._lock:
            if not self._is_over:
                held = min(tokens, self._held)
                self._held -= held
                self._quotas.charge(self._key_id, self._bounds, 0, from_held=held)

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                self._quotas.leave(self._key_id, held=self._held)
