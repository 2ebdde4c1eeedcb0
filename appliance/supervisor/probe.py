"""The probe: a throw-away runner tries a model before its name appears. Flow 4 of the store, its last gate.

It is the real runner in the real box, with one slot, and a small context unless the model wants another: it
loads, tokenises, renders the chat template once and computes one token. Whatever a hostile file does to it
(a signal, a hang, all memory) happens to a process that nobody waits for but us, and is told as ModelInvalid.

    static check (store) ──▶ Probe ──▶ spawn, bound its memory ──▶ Ready ──▶ Tokenize, ApplyTemplate, Generate
                                            │                                (or Embed, Rerank)
                                            └─ a signal, the deadline, too much memory: ModelInvalid

The runner is made on the thread that asks, and so dies with it (PR_SET_PDEATHSIG): that thread does nothing
but wait for it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

from appliance.errors import (
    ShuttingDown,
)
from appliance.supervisor.patience import Patience
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.probe_attempt import Attempt
from appliance.supervisor.probe_request import (
    PROBE_PLACEMENT,
    Limits,
    ProbeRequest,
    ProbeResult,
    context_bytes_of,
    size_of,
)
from appliance.supervisor.process import RUNNER_COMMAND

__all__ = ["PROBE_PLACEMENT", "Probe", "ProbeRequest", "ProbeResult"]


class Probe:
    """One probe at a time; the others wait for their turn. Any thread; blocks to the request's deadline."""

    def __init__(self, policy: RunnerPolicy, *, command: Sequence[str] = RUNNER_COMMAND) -> None:
        self._policy = policy
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._is_closed = threading.Event()

    def __call__(self, request: ProbeRequest, *, gone: Callable[[], bool] | None = None) -> ProbeResult:
        """Try it. Raises ModelInvalid when the weights are at fault, TemplateInvalid when only the template
        that was given is; InsufficientMemory, RunnerStartFailed when this machine is; ShuttingDown after
        `close`; ClientGone when `gone` says so, which may also raise itself.
        """
        size_bytes = size_of(request)
        limits = Limits.of(request, size_bytes, context_bytes=context_bytes_of(request))
        # No deadline of its own: whoever has the turn has one. Short waits, so that a leaving client is seen.
        waiting = Patience(math.inf, lambda: self._stops(gone))
        waiting.wait(lambda timeout_s: self._turn.acquire(timeout=timeout_s) or None)
        try:
            return Attempt(request, limits, self._policy, self._command, lambda: self._stops(gone)).run()
        finally:
            self._turn.release()

    def close(self) -> None:
        """End what runs, refuse what comes. Any thread; idempotent."""
        self._is_closed.set()

    def _stops(self, gone: Callable[[], bool] | None) -> bool:
        if self._is_closed.is_set():
            raise ShuttingDown
        return gone is not None and gone()
