"""The bench: a boxed-in child that measures one model under any placement, a piece at a time.

A piece that a request fell into is taken again when the machine has been quiet for a moment (`quiet`). A
child that dies of a placement is replaced by the next: what it died of is that placement's fault alone.

The child is made on the thread that asks, and so dies with it (PR_SET_PDEATHSIG). To give up is to kill.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from appliance.errors import ModelInvalid, OutpostError, RunnerHung, RunnerStartFailed
from appliance.log import logger
from appliance.supervisor.faults import believed
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.process import RunnerProcess, was_sent_away
from appliance.supervisor.quiet import ASK_EVERY_S, Asked, Quiet
from appliance.wire.calibrate import Bench, BenchMessage, NotTaken, Take, Taken, daemon_end
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import LoadFailed, Loading

_log = logger("bench")

BENCH_COMMAND: Final[tuple[str, ...]] = (sys.executable, "-I", "-m", "appliance.runner.bench")
_SILENCE_S: Final = 300.0
"""Longest time for one piece: the load of a large model from a slow card."""
_MOST_DISTURBED: Final = 3
"""A piece that is disturbed so often in a row is let pass: where requests never cease, `Quiet` gives up."""
_REAP_S: Final = 1.0

Tell = Callable[[str], None]
"""Hears `loading` or `waiting`, all the time; may raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    model: str
    paths: Sequence[Path]
    window: int
    width: int
    most_models: int = 1
    patience_s: float = 600.0
    """Longest wait for a quiet machine, at a time."""


class BenchChild:
    """Owned by the thread that asked. A context manager: the child ends with it."""

    def __init__(
        self,
        request: BenchRequest,
        policy: RunnerPolicy,
        *,
        check_wanted: Callable[[], None],
        busy: Asked = lambda: False,
        command: Sequence[str] = BENCH_COMMAND,
    ) -> None:
        self._request = request
        self._policy = policy
        self._check_wanted = check_wanted
        self._busy = busy
        self._command = tuple(command)
        self._running: _Running | None = None
        self._waited_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def waited_s(self) -> float:
        """For a quiet machine, in all."""
        return self._waited_s + (self._running.quiet.waited_s if self._running else 0.0)

    @property
    def pid(self) -> int | None:
        return self._running.pid if self._running else None

    def take(self, order: Take, tell: Tell = lambda _what: None) -> Taken | NotTaken:
        """Measure. Raises InvalidRequest (it generates no text), ModelInvalid, MachineBusy,
        RunnerStartFailed, RunnerHung, and whatever `check_wanted` and `tell` raise.
        """
        answer, is_disturbed = self._once(order, tell)
        for _ in range(_MOST_DISTURBED):
            if not is_disturbed:
                break
            answer, is_disturbed = self._once(order, tell)
        return answer

    def _once(self, order: Take, tell: Tell) -> tuple[Taken | NotTaken, bool]:
        running = self._running or self._start()
        try:
            answer, is_disturbed = running.take(order, tell)
        except _Died as died:
            self.end()
            if died.is_first:
                raise _told(died.cause, self._request.model) from died
            _log.warning("bench_died", model=self._request.model, cause=died.cause)
            return NotTaken(reason=f"it ended: {died.cause}"), False
        if isinstance(answer, LoadFailed):
            self.end()
            raise believed(answer.error)
        return answer, is_disturbed

    def _start(self) -> _Running:
        self._running = _Running(
            self._request, self._policy, self._command, busy=self._busy, check_wanted=self._check_wanted
        )
        return self._running

    def end(self) -> None:
        """The next piece has a child of its own."""
        if self._running is not None:
            self._waited_s = self.waited_s
            self._running.end()
            self._running = None


class _Died(Exception):
    """It ended without a word."""

    def __init__(self, cause: str, *, is_first: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_first = is_first
        """Nothing was measured before: it is the model's fault, or this machine's."""


class _Running:
    """One process, from its start to its end."""

    def __init__(
        self,
        request: BenchRequest,
        policy: RunnerPolicy,
        command: Sequence[str],
        *,
        busy: Asked,
        check_wanted: Callable[[], None],
    ) -> None:
        self._request = request
        self._check_wanted = check_wanted
        self._answers = 0
        try:
            self._process = RunnerProcess(name=request.model, sandbox=policy.sandbox, command=command)
        except OSError as error:
            raise RunnerStartFailed(model=request.model, reason=f"no process: {error.strerror}") from error
        self._process.offer_to_kernel()
        self._channel: Channel[BenchMessage] = daemon_end(self._process.socket)
        self._channel.set_send_timeout(policy.stop_timeout_s)
        self._channel.set_receive_timeout(ASK_EVERY_S)
        self.quiet = Quiet(
            self._process.pid, busy=busy, check_wanted=check_wanted, patience_s=request.patience_s
        )
        self._is_told = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def take(self, order: Take, tell: Tell) -> tuple[Taken | NotTaken | LoadFailed, bool]:
        """The answer, and whether it was disturbed. Raises _Died."""
        self.quiet.wait(lambda: tell("waiting"))
        try:
            if not self._is_told:
                self._channel.send(_bench(self._request))
                self._is_told = True
            self._channel.send(order)
            return self._answer(tell)
        except (OSError, ProtocolError) as error:
            raise self._died() from error

    def end(self) -> None:
        """Also of a child that stands still."""
        self._process.kill()
        self._process.reap(_REAP_S)
        self._channel.close()

    def _answer(self, tell: Tell) -> tuple[Taken | NotTaken | LoadFailed, bool]:
        is_disturbed = False
        waits_since_s = time.monotonic()
        while True:
            self._check_wanted()
            tell("measuring")
            if self.quiet.stand_still(lambda: tell("waiting")):
                is_disturbed = True
                waits_since_s = time.monotonic()
            try:
                message = self._channel.receive()
            except TimeoutError:
                silent_s = time.monotonic() - waits_since_s
                if silent_s > _SILENCE_S:
                    raise RunnerHung(model=self._request.model, silent_s=silent_s) from None
                continue
            waits_since_s = time.monotonic()
            match message:
                case Loading():
                    tell("loading")
                case None:
                    raise self._died()
                case answer:
                    self._answers += 1
                    return answer, is_disturbed

    def _died(self) -> _Died:
        return _Died(self._process.reap(_REAP_S), is_first=self._answers == 0)


def _bench(request: BenchRequest) -> Bench:
    return Bench(
        model=request.model,
        paths=[str(path.absolute()) for path in request.paths],
        window=request.window,
        width=request.width,
        most_models=request.most_models,
    )


def _told(cause: str, model: str) -> OutpostError:
    """By a signal: llama.cpp has no other answer to some hostile files."""
    if cause.startswith("SIG") and not was_sent_away(cause) and not cause.startswith("SIGKILL"):
        return ModelInvalid(model=model, reason=f"the bench died over it: {cause}")
    return RunnerStartFailed(model=model, reason=f"the bench ended: {cause}")
