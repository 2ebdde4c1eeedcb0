"""Our fault, contained in one runner."""

from __future__ import annotations

from appliance.errors.base import OutpostError


class RunnerError(OutpostError):
    """A runner failed; the daemon and the other runners did not. A retry meets a fresh runner."""

    @property
    def retry_after_s(self) -> float:
        return float(self.fields.get("retry_after_s", 1.0))


class RunnerStartFailed(RunnerError):
    def __init__(self, *, model: str, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the runner of '{model}' did not start: {reason}",
            model=model,
            reason=reason,
            retry_after_s=retry_after_s,
        )


class RunnerDied(RunnerError):
    def __init__(self, *, model: str, cause: str, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the runner of '{model}' died ({cause}); the next request starts a new one",
            model=model,
            cause=cause,
            retry_after_s=retry_after_s,
        )


class RunnerHung(RunnerError):
    def __init__(
        self, *, model: str, silent_s: float, beats: bool = False, retry_after_s: float = 1.0
    ) -> None:
        """`beats`: its heartbeats came, but nothing was computed."""
        what = "computed nothing for the requests it had taken" if beats else "gave no sign of life"
        super().__init__(
            f"the runner of '{model}' {what} for {silent_s:.1f} s and was killed",
            model=model,
            silent_s=silent_s,
            beats=beats,
            retry_after_s=retry_after_s,
        )


class ModelQuarantined(RunnerError):
    def __init__(self, *, model: str, crashes: int, cause: str, retry_after_s: float) -> None:
        super().__init__(
            f"model '{model}' is quarantined after {crashes} crashes in a row (last: {cause}); "
            f"it is tried again in {retry_after_s:.0f} s",
            model=model,
            crashes=crashes,
            cause=cause,
            retry_after_s=retry_after_s,
        )


class EngineFault(RunnerError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the engine failed this request: {reason}", reason=reason)
