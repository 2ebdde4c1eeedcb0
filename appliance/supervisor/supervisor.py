"""The supervisor: one loop thread that owns all desks, and the methods by which handler threads ask it.

Flow 1, from `acquire` to the request's mailbox. Every decision is made by `desk.Desk` on the loop thread;
what is slow or must be elsewhere (spawning: the main thread; listening: one thread per runner; waiting: the
handler threads) comes back to it as one more event. No locks around decisions, and no state of another part
is read to decide.

    handler thread             loop thread                  main thread          reader thread (per runner)
    acquire ──────────────────▶ desk.acquire
                                 └─ start ────────────────▶ preflight, spawn
                                desk.started ◀─────────────────┘
                                desk.ready   ◀────────────────────────────────── Ready
    ◀──────────── grant ─────── desk
    open, Generate ─────────────────────────────────────────────────────────▶ (runner)
    ◀───────────────────────────────────────────────────────── mailbox ───────── Accepted, Step…
    release ──────────────────▶ desk.release
                                desk.gone    ◀────────────────────────────────── the end, with its cause
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

from appliance.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelNotFound,
    OutpostError,
    Overloaded,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.log import logger
from appliance.supervisor import preflight
from appliance.supervisor.client import Runner
from appliance.supervisor.desk import Desk
from appliance.supervisor.faults import fresh
from appliance.supervisor.generation import RunningGeneration
from appliance.supervisor.history import FileStamp
from appliance.supervisor.inference import Call, ModelCard
from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.patience import Patience
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.process import RUNNER_COMMAND, RunnerProcess
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.states import RunnerState
from appliance.supervisor.status import ModelStatus, Published
from appliance.supervisor.ticket import Ticket
from appliance.wire.messages import PROTOCOL, Accepted, Generate, Load, Ready, Request, Result, SetLimits

_log = logger("supervisor")

First = TypeVar("First", Accepted, Result)
Event = Callable[[float], None]
"""Run on the loop thread with the monotonic time."""


class Supervisor:
    """Implements `inference.Inference`. Its desks are owned by the thread `supervisor`; all public methods
    take any thread.
    """

    def __init__(
        self,
        models: Sequence[ModelSpec],
        *,
        queue: QueuePolicy,
        runners: RunnerPolicy,
        spawner: Spawner,
        command: Sequence[str] = RUNNER_COMMAND,
    ) -> None:
        self._queue = queue
        self._policy = runners
        self._spawner = spawner
        self._command = tuple(command)
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._desks: dict[str, Desk[Runner]] = {
            spec.name: Desk(spec, queue=queue, runners=runners, effects=self) for spec in models
        }
        self._published: Mapping[str, Published] = {}
        self._publish()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin the loop and start the models that are to be preloaded."""
        self._thread.start()
        for desk in self._desks.values():
            self._post(desk.begin)

    # ── any thread: Inference ──────────────────────────────────────────────────────────────────────────────

    def models(self) -> Sequence[ModelCard]:
        return [published.card() for published in self._published.values()]

    def status(self) -> Sequence[ModelStatus]:
        """Everything that can be shown of the models; a picture, not a basis for decisions."""
        now = time.monotonic()
        return [published.status(now) for published in self._published.values()]

    def generate(
        self, model: str, request: Generate, *, owner: str, gone: Callable[[], bool] | None = None
    ) -> RunningGeneration:
        patience = Patience(self._queue.patience_s, gone)
        ticket, runner = self._acquire(model, owner, patience)
        try:
            mailbox, accepted = self._send(runner, request, Accepted, patience)
        except BaseException:
            self._release(ticket, succeeded=False)
            raise
        return RunningGeneration(
            accepted=accepted,
            mailbox=mailbox,
            runner=runner,
            release=lambda succeeded: self._release(ticket, succeeded=succeeded),
        )

    def call(
        self, model: str, request: Call, *, owner: str, gone: Callable[[], bool] | None = None
    ) -> Result:
        patience = Patience(self._queue.patience_s, gone)
        ticket, runner = self._acquire(model, owner, patience)
        succeeded = False
        try:
            _, result = self._send(runner, request, Result, patience)
            succeeded = True
        finally:
            self._release(ticket, succeeded=succeeded)
        return result

    # ── any thread: the rest ───────────────────────────────────────────────────────────────────────────────

    def apply_limits(self, limits: SetLimits) -> None:
        """To all runners there are now."""
        self._post(lambda _: self._send_limits(limits))

    def beat(self, timeout_s: float) -> bool:
        """True when the loop thread answers within `timeout_s` (for the watchdog)."""
        answered = threading.Event()
        self._post(lambda _: answered.set())
        return answered.wait(timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests, let running ones finish for `timeout_s`, then end every runner. True when
        all ended in time.

        The spawner must be closed first, or a start that waits for the main thread is never answered.
        Blocks; idempotent.
        """
        self._post(self._drain)
        is_over = self._over.wait(timeout_s)
        if not is_over:
            self._post(self._halt)
            is_over = self._over.wait(self._policy.stop_timeout_s + 1.0)
        return is_over

    def halt(self) -> None:
        """End a drain that is under way at once. From any thread, also from a signal handler."""
        self._post(self._halt)

    def close(self) -> None:
        """After `drain`: end the loop thread. A runner that is still there meets its PDEATHSIG."""
        self._inbox.put(None)
        self._thread.join(5.0)

    # ── handler threads ────────────────────────────────────────────────────────────────────────────────────

    def _acquire(self, model: str, owner: str, patience: Patience) -> tuple[Ticket, Runner]:
        desk = self._desks.get(model)
        if desk is None:
            raise ModelNotFound(model=model, available=sorted(self._desks))
        ticket = Ticket(model=model, owner=owner)
        self._post(lambda now_s: desk.acquire(ticket, now_s))
        try:
            answer = patience.wait(ticket.wait)
        except BaseException:
            self._release(ticket, succeeded=False)
            raise
        if isinstance(answer, Runner):
            return ticket, answer
        if answer is not None:
            raise fresh(answer)
        self._release(ticket, succeeded=False)
        raise self._impatient(model)

    def _release(self, ticket: Ticket, *, succeeded: bool) -> None:
        desk = self._desks[ticket.model]
        self._post(lambda now_s: desk.release(ticket, now_s, succeeded=succeeded))

    def _send(
        self, runner: Runner, request: Request, first: type[First], patience: Patience
    ) -> tuple[Mailbox, First]:
        """Send it and wait for the first answer, which is of the type `first` or an error."""
        mailbox = runner.open(request)
        try:
            item = patience.wait(mailbox.take)
        except BaseException:
            runner.cancel(mailbox)
            raise
        if isinstance(item, first):
            return mailbox, item
        runner.cancel(mailbox)
        raise DeadlineExceeded(limit_s=self._queue.patience_s)

    def _impatient(self, model: str) -> OutpostError:
        published = self._published[model]
        if published.state is RunnerState.READY:
            waiting = published.waiting
            return Overloaded(
                waiting=waiting, limit=self._queue.max_waiting, retry_after_s=published.retry_after_s
            )
        return ModelLoading(model=model, waited_s=self._queue.patience_s, retry_after_s=5.0)

    # ── the loop thread ────────────────────────────────────────────────────────────────────────────────────

    def _post(self, event: Event) -> None:
        self._inbox.put(event)

    def _run(self) -> None:
        while True:
            try:
                event = self._inbox.get(timeout=self._until_next_timer())
            except Empty:
                event = _nothing
            if event is None:
                return
            now_s = time.monotonic()
            try:
                event(now_s)
                for desk in self._desks.values():
                    desk.tick(now_s)
            except Exception:  # noqa: BLE001  # thread top: one bad event must not end all service
                _log.exception("supervisor_fault")
            self._publish()
            if all(desk.is_over for desk in self._desks.values()):
                self._over.set()

    def _until_next_timer(self) -> float | None:
        times = [desk.wake_at_s for desk in self._desks.values() if desk.wake_at_s is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _publish(self) -> None:
        """Replace the picture others see; the old one stays whole for whoever reads it."""
        self._published = {name: Published.of(desk) for name, desk in self._desks.items()}

    def _drain(self, now_s: float) -> None:
        for desk in self._desks.values():
            desk.drain(now_s)

    def _halt(self, _: float) -> None:
        for desk in self._desks.values():
            desk.halt()

    def _send_limits(self, limits: SetLimits) -> None:
        for desk in self._desks.values():
            if desk.runner is not None:
                desk.runner.set_limits(limits)

    # ── the loop thread: desk.Effects ──────────────────────────────────────────────────────────────────────

    def start_runner(self, spec: ModelSpec) -> None:
        self._spawner.submit(lambda is_open: self._spawn(spec, is_open=is_open))

    def stop_runner(self, runner: Runner, error: OutpostError | None) -> None:
        runner.stop(error)

    def stamp(self, path: str) -> FileStamp | None:
        return preflight.stamp(path)

    # ── the main thread ────────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, spec: ModelSpec, *, is_open: bool) -> None:
        """Answered on the loop thread by `started`, or by `gone` without a runner."""
        desk = self._desks[spec.name]
        fault: OutpostError
        try:
            runner = self._launch(spec, is_open=is_open)
        except OutpostError as error:
            fault = error
        except Exception as error:  # noqa: BLE001  # top of a job: the desk must get its answer
            fault = RunnerStartFailed(model=spec.name, reason=f"{type(error).__name__}: {error}")
        else:
            self._post(lambda _: desk.started(runner))
            runner.start()
            return
        self._post(lambda now_s: desk.gone(None, fault, now_s))

    def _launch(self, spec: ModelSpec, *, is_open: bool) -> Runner:
        if not is_open:
            raise ShuttingDown
        preflight.check(spec.name, spec.path)
        try:
            process = RunnerProcess(name=spec.name, sandbox=self._policy.sandbox, command=self._command)
        except OSError as error:
            raise RunnerStartFailed(model=spec.name, reason=f"no process: {error.strerror}") from error
        _log.info("runner_started", runner=spec.name, pid=process.pid)
        return Runner(
            load=_load(spec),
            process=process,
            policy=self._policy,
            on_ready=self._on_ready,
            on_gone=self._on_gone,
        )

    # ── reader threads ─────────────────────────────────────────────────────────────────────────────────────

    def _on_ready(self, runner: Runner, ready: Ready) -> None:
        desk, facts = self._desks[runner.model], ready.facts
        self._post(lambda now_s: desk.ready(runner, facts, now_s))

    def _on_gone(self, runner: Runner, fault: OutpostError | None) -> None:
        desk = self._desks[runner.model]
        self._post(lambda now_s: desk.gone(runner, fault, now_s))


def _load(spec: ModelSpec) -> Load:
    return Load(
        protocol=PROTOCOL,
        model=spec.name,
        path=spec.path,
        placement=spec.placement,
        settings=spec.settings,
        draft_path=spec.draft_path,
        adapters=list(spec.adapters),
    )


def _nothing(_: float) -> None:
    """A timer passed; `tick` does the rest."""
