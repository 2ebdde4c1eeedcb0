"""Judging: a boxed-in child compares two files of one model, and whoever asked waits for it.

Speed is measured while nobody waits for an answer, and measuring must not make anybody wait: as soon as a
request is there the child is stopped where it stands (SIGSTOP), and goes on when the machine has been quiet
for a moment. What was measured meanwhile is measured again.

The child is made on the thread that asks, and so dies with it (PR_SET_PDEATHSIG). To give up is to kill.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import (
    ClientGone,
    EngineFault,
    ModelInvalid,
    OutpostError,
    RunnerHung,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.log import logger
from appliance.supervisor.faults import believed
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.process import RunnerProcess, was_sent_away
from appliance.supervisor.quiet import ASK_EVERY_S, Asked, Quiet
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.judge import Go, Judge, Judged, JudgeMessage, Step, daemon_end
from appliance.wire.messages import LoadFailed, Loading, Placement

_log = logger("judge")

JUDGE_COMMAND: Final[tuple[str, ...]] = (sys.executable, "-I", "-m", "appliance.runner.judge")
WIDTHS: Final = (1, 8, 32)
"""Sequences at once: one user, a few, many."""

_SILENCE_S: Final = 900.0
"""Longest time for one piece: 128 tokens of a large model on a slow board, twice."""
_REAP_S: Final = 1.0

Report = Callable[[str, float], None]
"""Hears what is being done (loading, quality, speed, waiting), and the share of all that is done, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    model: str
    original: Sequence[Path]
    candidate: Path
    placement: Placement
    text: str
    tokens: int
    rounds: int = 5
    max_kl: float = 0.01
    limit_s: float = 60.0
    own_kernels: bool = True
    patience_s: float = 600.0
    """Longest wait for a quiet machine, at a time."""


class JudgeChild:
    """Any thread; blocks until the verdict is there. Each call has a child of its own."""

    def __init__(self, policy: RunnerPolicy, *, command: Sequence[str] = JUDGE_COMMAND) -> None:
        self._policy = policy
        self._command = tuple(command)
        self._is_closed = threading.Event()

    def __call__(
        self,
        request: JudgeRequest,
        report: Report = lambda _name, _share: None,
        *,
        gone: Asked = lambda: False,
        busy: Asked = lambda: False,
    ) -> Judged:
        """`gone` is asked all the time, and may raise itself; `busy`: somebody waits for an answer.

        Raises InvalidRequest (it generates no text), ModelInvalid, MachineBusy,
        RunnerStartFailed, RunnerHung, ClientGone, ShuttingDown.
        """
        began_s = time.monotonic()
        child = _Child(
            request, self._policy, self._command, check_wanted=lambda: self._check_wanted(gone), busy=busy
        )
        try:
            judged = child.follow(report)
        except (ClientGone, ShuttingDown):
            _log.info("judging_cancelled", model=request.model)
            raise
        except OutpostError as error:
            _log.warning("judging_failed", model=request.model, error=error.message)
            raise
        finally:
            child.end()
        seconds = round(time.monotonic() - began_s, 3)
        _log.info("judged", model=request.model, seconds=seconds, mean_kl=judged.divergence.mean)
        return judged

    def close(self) -> None:
        """End what runs with ShuttingDown, refuse what comes. Any thread; idempotent."""
        self._is_closed.set()

    def _check_wanted(self, gone: Asked) -> None:
        if self._is_closed.is_set():
            raise ShuttingDown
        if gone():
            raise ClientGone


class _Child:
    """One judge, from its start to its end. Owned by the thread that asked."""

    def __init__(
        self,
        request: JudgeRequest,
        policy: RunnerPolicy,
        command: Sequence[str],
        *,
        check_wanted: Callable[[], None],
        busy: Asked,
    ) -> None:
        self._request = request
        self._check_wanted = check_wanted
        try:
            self._process = RunnerProcess(name=request.model, sandbox=policy.sandbox, command=command)
        except OSError as error:
            raise RunnerStartFailed(model=request.model, reason=f"no process: {error.strerror}") from error
        self._process.offer_to_kernel()
        self._channel: Channel[JudgeMessage] = daemon_end(self._process.socket)
        self._channel.set_send_timeout(policy.stop_timeout_s)
        self._channel.set_receive_timeout(ASK_EVERY_S)
        self._quiet = Quiet(
            self._process.pid, busy=busy, check_wanted=check_wanted, patience_s=request.patience_s
        )
        self._is_disturbed = False

    def follow(self, report: Report) -> Judged:
        try:
            self._channel.send(_order(self._request))
            while True:
                match self._next(report):
                    case Loading(progress=share):
                        report("loading", share)
                    case Step(done=done, total=total, name=name):
                        report(name, done / max(1, total))
                        self._quiet.wait(lambda: report("waiting", 0.0))
                        again, self._is_disturbed = self._is_disturbed, False
                        self._channel.send(Go(again=again))
                    case Judged() as judged:
                        report("speed", 1.0)
                        return judged
                    case LoadFailed(error=error):
                        raise _told(believed(error), self._request)
                    case None:
                        raise self._died()
        except (OSError, ProtocolError) as error:
            raise self._died() from error

    def end(self) -> None:
        """Also of a child that stands still."""
        self._process.kill()
        self._process.reap(_REAP_S)
        self._channel.close()

    def _next(self, report: Report) -> JudgeMessage | None:
        """None: it has ended."""
        waits_since_s = time.monotonic()
        while True:
            self._check_wanted()
            if self._quiet.stand_still(lambda: report("waiting", 0.0)):
                self._is_disturbed = True
                waits_since_s = time.monotonic()
            try:
                return self._channel.receive()
            except TimeoutError:
                silent_s = time.monotonic() - waits_since_s
                if silent_s > _SILENCE_S:
                    raise RunnerHung(model=self._request.model, silent_s=silent_s) from None

    def _died(self) -> OutpostError:
        """It ended without a word. By a signal: llama.cpp has no other answer to some hostile files."""
        model, cause = self._request.model, self._process.reap(_REAP_S)
        if cause.startswith("SIG") and not was_sent_away(cause) and not cause.startswith("SIGKILL"):
            return ModelInvalid(model=model, reason=f"the judge died over it: {cause}")
        return RunnerStartFailed(model=model, reason=f"the judge ended: {cause}")


def _order(request: JudgeRequest) -> Judge:
    return Judge(
        model=request.model,
        original=[str(path.absolute()) for path in request.original],
        candidate=[str(request.candidate.absolute())],
        placement=request.placement,
        own_kernels=request.own_kernels,
        text=request.text,
        tokens=request.tokens,
        widths=[width for width in WIDTHS if width <= max(1, request.placement.n_seq_max)],
        rounds=request.rounds,
        max_kl=request.max_kl,
        limit_s=request.limit_s,
    )


def _told(error: OutpostError, request: JudgeRequest) -> OutpostError:
    """What the child says it failed of."""
    if isinstance(error, EngineFault):
        return ModelInvalid(model=request.model, reason=error.message)
    return error
