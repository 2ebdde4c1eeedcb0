"""May this model be started now? Back-off and quarantine as a pure decision over what went wrong before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Union

from appliance.errors import ModelInvalid, ModelQuarantined, OutpostError
from appliance.supervisor.policy import RunnerPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """What changes when a file is replaced."""

    mtime_ns: int
    size_bytes: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Start now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoLater:
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    error: OutpostError
    until_s: float


Verdict = Union[Go, GoLater, Refuse]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Faults of one model in a row, since the last success or the last change of its file."""

    crashes: int = 0
    refusals: int = 0
    """Loads that ended in ModelInvalid: the content's fault, not a crash."""
    fault: OutpostError | None = None
    cause: str = ""
    failed_at_s: float = 0.0
    stamp: FileStamp | None = None

    def after(self, fault: OutpostError, *, now_s: float, stamp: FileStamp | None) -> History:
        """This history and one more fault. A changed file starts a new row."""
        base = self if stamp == self.stamp else History()
        is_content = isinstance(fault, ModelInvalid)
        return replace(
            base,
            crashes=base.crashes + (not is_content),
            refusals=base.refusals + is_content,
            fault=fault,
            cause=str(fault.fields.get("cause") or fault.fields.get("reason") or fault.message),
            failed_at_s=now_s,
            stamp=stamp,
        )

    def is_quarantined(self, policy: RunnerPolicy) -> bool:
        return self.crashes >= policy.max_crashes

    def quarantined_until_s(self, policy: RunnerPolicy) -> float | None:
        """None: not quarantined. A time that has passed: the next attempt is free."""
        return self.failed_at_s + policy.quarantine_s if self.is_quarantined(policy) else None

    def reason(self, policy: RunnerPolicy) -> str | None:
        """Why it does not run, for people; None: nothing is wrong."""
        if self.fault is None:
            return None
        if self.is_quarantined(policy):
            return f"quarantined after {self.crashes} crashes in a row: {self.cause}"
        return self.cause if isinstance(self.fault, ModelInvalid) else f"the last runner failed: {self.cause}"

    def verdict(self, model: str, *, now_s: float, stamp: FileStamp | None, policy: RunnerPolicy) -> Verdict:
        """1. No fault, or another file than the one at fault: go.
        2. Crashed `max_crashes` times in a row: refused until `quarantine_s` after the last crash, then one
        attempt.
        3. The content is invalid: the same answer until the back-off has passed, then one attempt.
        4. Crashed: go when the back-off has passed.
        """
        if self.fault is None or stamp != self.stamp:  # 1
            return Go()
        if self.is_quarantined(policy):  # 2
            until = self.failed_at_s + policy.quarantine_s
            return (
                Go()
                if now_s >= until
                else Refuse(error=self._quarantined(model, until - now_s), until_s=until)
            )
        until = self.failed_at_s + self._backoff_s(policy)
        if now_s >= until:
            return Go()
        if isinstance(self.fault, ModelInvalid):  # 3
            return Refuse(error=self.fault, until_s=until)
        return GoLater(at_s=until)  # 4

    def _quarantined(self, model: str, remaining_s: float) -> ModelQuarantined:
        return ModelQuarantined(
            model=model, crashes=self.crashes, cause=self.cause, retry_after_s=remaining_s
        )

    def _backoff_s(self, policy: RunnerPolicy) -> float:
        exponent = min(self.crashes + self.refusals - 1, 16)
        return min(policy.max_backoff_s, policy.backoff_s * float(2**exponent))
