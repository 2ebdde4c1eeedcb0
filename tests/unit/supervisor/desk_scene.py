"""A desk without a process, thread or clock, for the tests of its decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from appliance.errors import OutpostError, RunnerDied
from appliance.supervisor.desk import Desk
from appliance.supervisor.effects import Waiter
from appliance.supervisor.history import FileStamp
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.states import RunnerState
from appliance.supervisor.turn import Standing, Turn
from appliance.supervisor.waiting_room import WaitingRoom
from appliance.wire.messages import ModelFacts, Placement

SPEC = ModelSpec(name="m", path="/m.gguf", placement=Placement(n_ctx_seq=8, n_seq_max=2, kv_cells=16))
PRELOADED = ModelSpec(name="m", path="/m.gguf", placement=SPEC.placement, preload=True)
FACTS = ModelFacts(
    n_ctx_train=8,
    n_ctx_seq=8,
    n_seq_max=2,
    n_vocab=1,
    n_embd=1,
    n_params=1,
    size_bytes=1,
    description="",
    has_chat_template=False,
)
CRASH = RunnerDied(model="m", cause="SIGSEGV")


@dataclass
class FakeEffects:
    started: int = 0
    stopped: list[tuple[str, OutpostError | None]] = field(default_factory=list)
    file: FileStamp = field(default_factory=lambda: FileStamp(mtime_ns=1, size_bytes=1, inode=1))

    def start_runner(self, desk: Desk[str], /) -> None:
        self.started += 1

    def stop_runner(self, runner: str, error: OutpostError | None) -> None:
        self.stopped.append((runner, error))

    def stamp(self, path: str) -> FileStamp:
        return self.file


@dataclass(eq=False)
class FakeTicket:
    owner: str = "a"
    keep_alive_s: float | None = None
    turn: Turn = field(default_factory=Turn)
    arrived_s: float | None = None
    granted_at_s: float = 0.0
    first_standing: Standing | None = None
    standing: Standing | None = None
    answers: list[str | OutpostError] = field(default_factory=list)

    def answer(self, answer: str | OutpostError, /) -> None:
        self.answers.append(answer)

    @property
    def error(self) -> OutpostError:
        (answer,) = self.answers
        assert isinstance(answer, OutpostError)
        return answer


class Scene:
    def __init__(
        self,
        spec: ModelSpec = SPEC,
        *,
        running: int = 2,
        waiting: int = 1,
        room: WaitingRoom[Waiter[str]] | None = None,
    ) -> None:
        self.effects = FakeEffects()
        self.desk: Desk[str] = Desk(
            spec,
            queue=QueuePolicy(max_running=running, max_waiting=waiting),
            runners=RunnerPolicy(backoff_s=1.0, quarantine_s=100.0, max_crashes=3),
            effects=self.effects,
            room=room,
        )

    def ask(
        self, now_s: float = 0.0, owner: str = "a", *, keep_alive_s: float | None = None, **wishes: Any
    ) -> FakeTicket:
        """`wishes`: of the Turn."""
        ticket = FakeTicket(owner, keep_alive_s, Turn(**wishes))
        self.desk.acquire(ticket, now_s)
        return ticket

    def load(self, runner: str = "r1", now_s: float = 0.0) -> None:
        self.desk.started(runner)
        self.desk.ready(runner, FACTS, now_s)

    def crash(self, now_s: float, runner: str = "r1") -> None:
        self.desk.started(runner)
        self.desk.ready(runner, FACTS, now_s)
        self.desk.gone(runner, CRASH, now_s)

    def is_in(self, state: RunnerState) -> bool:
        return self.desk.state is state

    def timer(self) -> float | None:
        return self.desk.wake_at_s
