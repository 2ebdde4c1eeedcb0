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

from appliance.errors import OutpostError, Unsupported
from appliance.log import logger
from appliance.planner.fit_answer import FitAnswer
from appliance.supervisor import preflight
from appliance.supervisor.catalog import Catalog
from appliance.supervisor.client import Runner
from appliance.supervisor.cooling import CoolingDesk, CoolingOrder
from appliance.supervisor.desk import Desk
from appliance.supervisor.effects import Waiter
from appliance.supervisor.entrance import Entrance
from appliance.supervisor.fit_wish import FitWish
from appliance.supervisor.generation import RunningGeneration
from appliance.supervisor.history import FileStamp
from appliance.supervisor.inference import Call, ModelCard
from appliance.supervisor.names import Resolve, plain_key
from appliance.supervisor.pending import PendingGeneration
from appliance.supervisor.placing import Placing, Plans
from appliance.supervisor.policy import ModelSpec, QueuePolicy, ResidencyPolicy, RunnerPolicy
from appliance.supervisor.process import RUNNER_COMMAND
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.speed_watch import SpeedWatch
from appliance.supervisor.starting import Starting
from appliance.supervisor.status import ModelStatus, Published
from appliance.supervisor.ticket import Ticket
from appliance.supervisor.turn import Asker, QueueCounts, Waiting
from appliance.supervisor.waiting_room import WaitingRoom
from appliance.wire.messages import Accepted, Generate, Result

_log = logger("supervisor")

_SETTLE_S = 5.0

Event = Callable[[float], None]
"""Run on the loop thread with the monotonic time."""


class Supervisor:
    """Implements `inference.Inference`. Its catalog is owned by the thread `supervisor`; all public methods
    take any thread.
    """

    def __init__(  # noqa: PLR0913 - the parts, each named
        self,
        models: Sequence[ModelSpec],
        *,
        queue: QueuePolicy,
        runners: RunnerPolicy,
        spawner: Spawner,
        command: Sequence[str] = RUNNER_COMMAND,
        resolve: Resolve = plain_key,
        on_released: Callable[[], None] = lambda: None,
        plans: Plans | None = None,
        residency: ResidencyPolicy = ResidencyPolicy(),  # noqa: B008 - frozen
        speeds: SpeedWatch | None = None,
    ) -> None:
        """`resolve`: how names in requests are compared with those of the models. `on_released` is called on
        the loop thread, and must not block, when a runner has ended whose files no model has any more: from
        then on `paths_in_use` is without them. `plans`: how much memory models take and there is; None:
        every one is started as its spec says, whatever that takes. `speeds`: how fast models usually are;
        None: that is learned anew.
        """
        self._queue = queue
        self._policy = runners
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._resolve = resolve
        self._room: WaitingRoom[Waiter[Runner]] = WaitingRoom.of(queue)
        self._counts = self._room.counts()
        self._entrance = Entrance(self._room, self, queue)
        self._catalog: Catalog[Runner] = Catalog(make=self._desk, resolve=resolve)
        self.cooling = CoolingDesk()
        """What heat asks for now; `cool` changes it."""
        self._starting = Starting(
            spawner=spawner,
            policy=runners,
            command=command,
            post=self.post,
            greet=self.cooling.greet,
            speeds=speeds or SpeedWatch(),
        )
        self._placing = (
            None
            if plans is None
            else Placing(
                lambda: self._catalog,
                plans=plans,
                policy=residency,
                starting=self._starting,
                in_turn=self._room.lines_in_turn,
                post=self.post,
            )
        )
        self._published: Mapping[str, Published] = {}
        self._in_use: frozenset[str] = frozenset()
        self._on_released = on_released
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._catalog.set_models(models, time.monotonic())
        self._publish()

    def start(self) -> None:
        """Begin the loop. Models to be preloaded start as soon as the spawner runs, too."""
        if self._placing is not None:
            self._placing.start_thread()
        self._thread.start()

    # ── any thread: Inference ──────────────────────────────────────────────────────────────────────────────

    def models(self) -> Sequence[ModelCard]:
        return [published.card() for published in self._published.values()]

    def find(self, model: str) -> ModelCard:
        published = self._published.get(self._resolve(model))
        if published is None:
            raise self._entrance.not_found(model)
        return published.card()

    def stand_in(self, model: str) -> str | None:
        sibling = self.cooling.stand_in(model, self._resolve)
        return sibling if sibling is not None and self._resolve(sibling) in self._published else None

    def status(self) -> Sequence[ModelStatus]:
        """Everything that can be shown of the models; a picture, not a basis for decisions."""
        now = time.monotonic()
        return [published.status(now) for published in self._published.values()]

    def begin(self, model: str, request: Generate, *, asker: Asker) -> PendingGeneration:
        pending = self._entrance.join(model, request, Accepted, asker=asker)
        return PendingGeneration(pending)

    def generate(self, model: str, request: Generate, *, asker: Asker) -> RunningGeneration:
        return self.begin(model, request, asker=asker).result()

    def call(self, model: str, request: Call, *, asker: Asker) -> Result:
        pending = self._entrance.join(model, request, Result, asker=asker)
        result = pending.result()
        pending.release(succeeded=True)
        return result

    def load(self, model: str, *, asker: Asker) -> ModelCard:
        self._entrance.load(model, asker=asker)
        return self.find(model)

    def unload(self, model: str) -> ModelCard:
        card = self.find(model)
        key = self._resolve(model)
        self._change(lambda now_s: self._catalog.unload(key, now_s))
        return card

    def fit(self, model: str, wish: FitWish, *, asker: Asker) -> FitAnswer:
        if self._placing is None:
            raise Unsupported(feature="fit", reason="this daemon plans no memory", param="model")
        key = self._resolve(model)
        return self._placing.fitting.ask(lambda: self._catalog.find(key, asked=model), wish, asker=asker)

    def waiting(self, *, owner: str | None = None) -> Sequence[Waiting]:
        return self._entrance.waiting(owner)

    def queue_counts(self) -> QueueCounts:
        return self._counts

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

        self.post(change)
        if self._thread.is_alive():
            is_done.wait(_SETTLE_S)

    def _check_names(self, specs: Sequence[ModelSpec]) -> None:
        for spec in specs:
            self._resolve(spec.name)

    # ── any thread: the rest ───────────────────────────────────────────────────────────────────────────────

    def relieve(self) -> None:
        """The machine is short of memory: an idle model goes, if there is one."""
        if self._placing is not None:
            self.post(self._placing.relieve)

    def cool(self, order: CoolingOrder) -> None:
        """From now on these measures: for all runners, those to come, and new requests."""
        self.post(lambda now_s: self._cool(order, now_s))

    def beat(self, timeout_s: float) -> bool:
        """True when the loop thread answers within `timeout_s` (for the watchdog)."""
        answered = threading.Event()
        self.post(lambda _: answered.set())
        return answered.wait(timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests, let running ones finish for `timeout_s`, then end every runner. True when
        all ended in time.

        The spawner must be closed first, or a start that waits for the main thread is never answered.
        Blocks; idempotent.
        """
        self.post(self._drain)
        is_over = self._over.wait(timeout_s)
        if not is_over:
            self.post(self._halt)
            is_over = self._over.wait(self._policy.stop_timeout_s + 1.0)
        return is_over

    def halt(self) -> None:
        """End a drain that is under way at once. From any thread, also from a signal handler."""
        self.post(self._halt)

    def close(self) -> None:
        """After `drain`: end the loop thread. A runner that is still there meets its PDEATHSIG."""
        if self._placing is not None:
            self._placing.close()
        self._inbox.put(None)
        self._thread.join(5.0)

    # ── any thread: entrance.Loop ──────────────────────────────────────────────────────────────────────────

    def post(self, event: Event) -> None:
        self._inbox.put(event)

    def picture(self) -> Mapping[str, Published]:
        return self._published

    def admit(self, ticket: Ticket, asked: str, now_s: float) -> None:
        if not self.cooling.refuses(ticket):
            self._catalog.acquire(ticket.model, ticket, now_s, asked=asked)

    def key_of(self, model: str) -> str:
        return self._resolve(model)

    @property
    def catalog(self) -> Catalog[Runner]:
        return self._catalog

    # ── the loop thread ────────────────────────────────────────────────────────────────────────────────────

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
                if self._placing is not None:
                    self._placing.tick(now_s)
            except Exception:  # noqa: BLE001  # thread top: one bad event must not end all service
                _log.exception("supervisor_fault")
            self._publish()
            if self._catalog.is_over:
                self._over.set()

    def _until_next_timer(self) -> float | None:
        timers = [
            wish_s for desk in self._catalog for wish_s in (desk.wake_at_s, desk.waiting.next_deadline_s)
        ]
        if self._placing is not None:
            timers.append(self._placing.wake_at_s)
        times = [time_s for time_s in timers if time_s is not None]
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
        self._counts = self._room.counts()
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
        return Desk(spec, queue=self._queue, runners=self._policy, effects=self, room=self._room)

    def _cool(self, order: CoolingOrder, now_s: float) -> None:
        self.cooling.take(order, self._catalog)
        if self._room.is_background_held != order.hold_background:
            self._room.is_background_held = order.hold_background
            for desk in self._catalog:
                desk.look_again(now_s)

    # ── the loop thread: desk.Effects ──────────────────────────────────────────────────────────────────────

    def start_runner(self, desk: Desk[Runner], /) -> None:
        if self._placing is not None:
            self._placing.start(desk)
        else:
            self._starting.submit(desk, desk.spec)

    def stop_runner(self, runner: Runner, error: OutpostError | None) -> None:
        runner.stop(error)

    def stamp(self, path: str) -> FileStamp | None:
        return preflight.stamp(path)


def _nothing(_: float) -> None:
    """A timer passed; `tick` does the rest."""
