"""Try later."""

from __future__ import annotations

from typing import Final

from appliance.errors.base import OutpostError


class CapacityError(OutpostError):
    """The same request may succeed after `retry_after_s`."""

    @property
    def retry_after_s(self) -> float:
        return float(self.fields["retry_after_s"])


class Overloaded(CapacityError):
    def __init__(self, *, waiting: int, limit: int, retry_after_s: float, is_displaced: bool = False) -> None:
        """`is_displaced`: it waited, and had to make room for another."""
        why = " and others, with fewer requests or more urgent ones, go first" if is_displaced else ""
        super().__init__(
            f"the queue is full: {waiting} of {limit} requests wait{why}; retry in {retry_after_s:.0f} s",
            waiting=waiting,
            limit=limit,
            retry_after_s=retry_after_s,
            is_displaced=is_displaced,
        )


class ModelLoading(CapacityError):
    def __init__(self, *, model: str, waited_s: float, retry_after_s: float) -> None:
        super().__init__(
            f"model '{model}' was not ready within {waited_s:.0f} s; retry in {retry_after_s:.0f} s",
            model=model,
            waited_s=waited_s,
            retry_after_s=retry_after_s,
        )


class DeadlineExceeded(CapacityError):
    def __init__(self, *, limit_s: float, retry_after_s: float = 1.0, is_begun: bool = True) -> None:
        """`is_begun`: False when it waited for its turn all the time."""
        told = f"the answer was not complete within {limit_s:g} s; ask for fewer tokens or stream it"
        if not is_begun:
            told = (
                f"its deadline of {limit_s:g} s passed while the request waited; nothing of it was begun; "
                f"retry in {retry_after_s:.0f} s, or give it more time"
            )
        super().__init__(told, limit_s=limit_s, retry_after_s=retry_after_s, is_begun=is_begun)


class MachineBusy(CapacityError):
    def __init__(self, *, waited_s: float, retry_after_s: float = 600.0) -> None:
        super().__init__(
            f"requests have kept this machine busy for {waited_s:.0f} s, and speed is measured only while "
            "nobody waits for an answer; try again when it is idle",
            waited_s=waited_s,
            retry_after_s=retry_after_s,
        )


class ShuttingDown(CapacityError):
    def __init__(self, *, retry_after_s: float = 5.0) -> None:
        super().__init__("the daemon is shutting down", retry_after_s=retry_after_s)


class Throttled(CapacityError):
    """The board is too hot for new requests."""

    def __init__(self, *, reason: str, retry_after_s: float) -> None:
        super().__init__(
            f"this Outpost cools down and takes no new request: {reason}; retry in {retry_after_s:.0f} s",
            reason=reason,
            retry_after_s=retry_after_s,
        )


class TooManyAttempts(CapacityError):
    """`secret`: what is guessed, a key or a claim."""

    def __init__(self, *, secret: str, retry_after_s: float) -> None:
        super().__init__(
            f"too many wrong {secret}s came from this address; "
            f"retry in {retry_after_s:.0f} s, with the right one",
            secret=secret,
            retry_after_s=retry_after_s,
        )


class RateLimited(CapacityError):
    """The key has used what it may for now."""

    def __init__(self, *, bound: str, limit: int, used: int, retry_after_s: float) -> None:
        """`bound`: one of `quota_rules.Bound`. After `retry_after_s` the same request fits, if the key asks
        nothing else meanwhile.
        """
        unit, per = _BOUNDS.get(bound, ("units", ""))
        super().__init__(
            f"this key may use {limit} {unit}{per}, and has used {used}; retry in {retry_after_s:.0f} s",
            bound=bound,
            limit=limit,
            used=used,
            retry_after_s=retry_after_s,
        )


_BOUNDS: Final = {
    "requests_per_min": ("requests", " per minute"),
    "tokens_per_min": ("tokens", " per minute"),
    "tokens_per_day": ("tokens", " per day"),
    "concurrency": ("requests", " at once"),
}
