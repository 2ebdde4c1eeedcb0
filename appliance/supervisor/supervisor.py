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
from appliance.supervisor.catalog import Catalog
from appliance.supervisor.client import Runner
from appliance.supervisor.cooling import CoolingDesk, CoolingOrder
from appliance.supervisor.desk import Desk
from appliance.supervisor.faults import fresh
from appliance.supervisor.generation import RunningGeneration
from appliance.supervisor.history import FileStamp
from appliance.supervisor.inference import Call, ModelCard
from appliance.supervisor.launch import launch
from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.names import Resolve, plain_key
from appliance.supervisor.patience import Patience
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.process import RUNNER_COMMAND
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.states import RunnerState
from appliance.supervisor.status import ModelStatus, Published
from appliance.supervisor.ticket import Ticket
from appliance.wire.messages import Accepted, Generate, Ready, Request, Result

_log = logger("supervisor")

_SETTLE_S = 5.0
_MAX_NAME = 256
"""Characters of an unknown name that an answer repeats."""

First = TypeVar("First", Accepted, Result)
Event = Callable[[float], None]
"""Run on the loop thread with the monotonic time."""


class Supervisor:
    """Implements `inference.Inference`. Its catalog is owned by the thread `supervisor`; all public methods
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
        resolve: Resolve = plain_key,
        on_released: Callable[[], None] = lambda: None,
    ) -> None:
        """`resolve`: how names in requests are compared with those of the models. `on_released` is called on
        the loop thread, and must not block, when a runner has ended whose files no model has any more: from
        then on `paths_in_use` is without them.
        """
        self._queue = queue
        self._policy = runners
        self._spawner = spawner
        self._command = tuple(command)
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._resolve = resolve
        self._catalog: Catalog[Runner] = Catalog(make=self._desk, resolve=resolve)
        self._published: Mapping[str, Published] = {}
        self.cooling = CoolingDesk()
        """What heat asks for now; `cool` changes it."""
        self._in_use: frozenset[str] = frozenset()
        self._on_released = on_released
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._catalog.set_models(models, time.monotonic())
        self._publish()

    def start(self) -> None:
        """Begin the loop. Models to be preloaded start as soon as the spawner runs, too."""
        self._thread.start()

    # ── any thread: Inference ──────────────────────────────────────────────────────────────────────────────

    def models(self) -> Sequence[ModelCard]:
        return [published.card() for published in self._published.values()]

    def find(self, model: str) -> ModelCard:
        published = self._published.get(self._resolve(model))
        if published is None:
            raise self._not_found(model)
        return published.card()

    def stand_in(self, model: str) -> str | None:
        sibling = self.cooling.stand_in(model, self._resolve)
        return sibling if sibling is not None and self._resolve(sibling) in self._published else None

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

    # ── any thread: which models there are ─────────────────────────────────────────────────────────────────

    def set_models(self, specs: Sequence[ModelSpec]) -> None:
        """From now on these and no others; see `catalog`. Of two with one key the first counts.

        Raises what `resolve` raises. Requests that come after this call meet the new set.
        """
        self._check_names(specs)
        self._change(lambda now_s: self._catalog.set_models(specs, now_s))

    def add_model(self, spec: ModelSpec) -> None:
        """A new model, or another state of one that is there (its runner is drained, if it must be)."""
        self._check_names([spec])
        self._change(lambda now_s: self._catalog.add(spec, now_s))

    def remove_model(self, name: str) -> None:
        """No request starts it any more; what runs finishes, then its runner ends."""
        self._resolve(name)
        self._change(lambda now_s: self._catalog.remove(name, now_s))

    def paths_in_use(self) -> frozenset[str]:
        """The files of all models that have a runner, also of those that leave."""
        return self._in_use

    def _change(self, event: Event) -> None:
        """Done on the loop thread and seen by `find` when this returns, or after `_SETTLE_S` in any case."""
        is_done = threading.Event()

        def change(now_s: float) -> None:
            event(now_s)
            self._publish()
            is_done.set()

        self._post(change)
        if self._thread.is_alive():
            is_done.wait(_SETTLE_S)

    def _check_names(self, specs: Sequence[ModelSpec]) -> None:
        for spec in specs:
            self._resolve(spec.name)

    # ── any thread: the rest ───────────────────────────────────────────────────────────────────────────────

    def cool(self, order: CoolingOrder) -> None:
        """From now on these measures: for all runners, those to come, and new requests."""
        self._post(lambda _: self.cooling.take(order, self._catalog))

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
        ticket = Ticket(model=self._resolve(model), owner=owner)
        self._post(lambda now_s: self._admit(ticket, model[:_MAX_NAME], now_s))
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
        raise self._impatient(ticket.model)

    def _admit(self, ticket: Ticket, asked: str, now_s: float) -> None:
        if not self.cooling.refuses(ticket):
            self._catalog.acquire(ticket.model, ticket, now_s, asked=asked)

    def _release(self, ticket: Ticket, *, succeeded: bool) -> None:
        self._post(lambda now_s: self._catalog.release(ticket.model, ticket, now_s, succeeded=succeeded))

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

    def _not_found(self, model: str) -> ModelNotFound:
        known = sorted(published.spec.name for published in self._published.values())
        return ModelNotFound(model=model[:_MAX_NAME], available=known)

    def _impatient(self, key: str) -> OutpostError:
        published = self._published.get(key)
        if published is None:
            return self._not_found(key)
        if published.state is RunnerState.READY:
            waiting = published.waiting
            return Overloaded(
                waiting=waiting, limit=self._queue.max_waiting, retry_after_s=published.retry_after_s
            )
        return ModelLoading(model=published.spec.name, waited_s=self._queue.patience_s, retry_after_s=5.0)

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
                self._catalog.tick(now_s)
            except Exception:  # noqa: BLE001  # thread top: one bad event must not end all service
                _log.exception("supervisor_fault")
            self._publish()
            if self._catalog.is_over:
                self._over.set()

    def _until_next_timer(self) -> float | None:
        times = [desk.wake_at_s for desk in self._catalog if desk.wake_at_s is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _publish(self) -> None:
        """Replace the picture others see; the old one stays whole for whoever reads it.

        PERF: after every event, of which most change one desk of hundreds.
        """
        before = self._published
        self._published = {
            key: before[key] if key in before and before[key].is_still(desk) else Published.of(desk)
            for key, desk in self._catalog.desks.items()
        }
        in_use = frozenset(file for desk in self._catalog if desk.has_process for file in desk.spec.files)
        let_go, self._in_use = self._in_use - in_use, in_use
        if let_go and not let_go <= self._files():
            self._on_released()

    def _files(self) -> frozenset[str]:
        """Of the models there are, whether they run or not."""
        return frozenset(file for desk in self._catalog.desks.values() for file in desk.spec.files)

    def _drain(self, now_s: float) -> None:
        self._catalog.drain(now_s)

    def _halt(self, _: float) -> None:
        self._catalog.halt()

    def _desk(self, spec: ModelSpec) -> Desk[Runner]:
        return Desk(spec, queue=self._queue, runners=self._policy, effects=self)

    # ── the loop thread: desk.Effects ──────────────────────────────────────────────────────────────────────

    def start_runner(self, desk: Desk[Runner], /) -> None:
        spec = desk.spec
        self._spawner.submit(lambda is_open: self._spawn(desk, spec, is_open=is_open))

    def stop_runner(self, runner: Runner, error: OutpostError | None) -> None:
        runner.stop(error)

    def stamp(self, path: str) -> FileStamp | None:
        return preflight.stamp(path)

    # ── the main thread ────────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, desk: Desk[Runner], spec: ModelSpec, *, is_open: bool) -> None:
        """Answered on the loop thread by `started`, or by `gone` without a runner."""
        fault: OutpostError
        try:
            runner = self._launch(desk, spec, is_open=is_open)
        except OutpostError as error:
            fault = error
        except Exception as error:  # noqa: BLE001  # top of a job: the desk must get its answer
            fault = RunnerStartFailed(model=spec.name, reason=f"{type(error).__name__}: {error}")
        else:
            self._post(lambda _: desk.started(runner))
            runner.start()
            return
        self._post(lambda now_s: desk.gone(None, fault, now_s))

    def _launch(self, desk: Desk[Runner], spec: ModelSpec, *, is_open: bool) -> Runner:
        """The callbacks come on the runner's reader thread."""
        if not is_open:
            raise ShuttingDown

        def on_ready(runner: Runner, ready: Ready) -> None:
            self._post(lambda _: self.cooling.greet(runner))
            self._post(lambda now_s: desk.ready(runner, ready.facts, now_s))

        def on_gone(runner: Runner, fault: OutpostError | None) -> None:
            self._post(lambda now_s: desk.gone(runner, fault, now_s))

        runner = launch(spec, policy=self._policy, command=self._command, on_ready=on_ready, on_gone=on_gone)
        _log.info("runner_started", runner=spec.name, pid=runner.pid)
        return runner


def _nothing(_: float) -> None:
    """A timer passed; `tick` does the rest."""
