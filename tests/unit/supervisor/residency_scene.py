"""A board in values: desks, their memory and their ladders, without a process, thread or clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.planner.budget import Budget
from appliance.planner.facts import Ladder, Rung
from appliance.supervisor.desk import Desk
from appliance.supervisor.policy import ModelSpec, QueuePolicy, ResidencyPolicy, RunnerPolicy
from appliance.supervisor.residency import Residency
from appliance.supervisor.states import RunnerState
from tests.fakes.plain_budget import plain_budget, rung_of
from tests.unit.supervisor.desk_scene import FACTS, FakeEffects, FakeTicket

GIB = 1 << 30


def rung(gib: float, *, n_ctx_seq: int = 4096) -> Rung:
    return rung_of(int(gib * GIB), n_ctx_seq=n_ctx_seq)


@dataclass
class FakeMemory:
    """A board whose processes touch at once all that was planned for them."""

    free_gib: float
    touched: dict[str, float] = field(default_factory=dict)
    """GiB by model, of those in memory."""
    launched: list[tuple[str, int]] = field(default_factory=list)
    lazy: bool = False
    """They touch nothing yet."""
    is_known: bool = True

    def budget(self) -> Budget | None:
        return plain_budget((self.free_gib - sum(self.touched.values())) * GIB) if self.is_known else None

    def touched_bytes(self, runner: str) -> int | None:
        return int(self.touched.get(runner, 0.0) * GIB)

    def launch(self, desk: Desk[str], rung: Rung) -> None:
        self.launched.append((desk.spec.name, rung.placement.n_ctx_seq))
        desk.started(desk.spec.name)
        if not self.lazy:
            self.touched[desk.spec.name] = rung.footprint.total_bytes / GIB


class Board:
    """Models by name, each with its ladder in GiB; `free_gib` is the budget while nothing is in memory."""

    def __init__(self, free_gib: float, policy: ResidencyPolicy | None = None) -> None:
        self.memory = FakeMemory(free_gib)
        self.effects = FakeEffects()
        self.desks: dict[str, Desk[str]] = {}
        self.ladders: dict[str, Ladder] = {}
        self.policy = policy or ResidencyPolicy(turn_s=5.0, min_residency_s=0.0, max_swaps_per_min=100)
        self.first: list[str] = []
        """Models that the waiting room puts first."""
        self.residency: Residency[str] = Residency(
            lambda: self.desks.values(),
            memory=self.memory,
            policy=self.policy,
            in_turn=lambda _: [self.desks[name].waiting for name in self.first],
        )

    def model(self, name: str, *rungs: Rung, pin: bool = False, preload: bool = False) -> Desk[str]:
        spec = ModelSpec(
            name=name, path=f"/{name}.gguf", placement=rungs[0].placement, pin=pin, preload=preload
        )
        self.desks[name] = Desk(spec, queue=QueuePolicy(), runners=RunnerPolicy(), effects=self.effects)
        self.ladders[name] = Ladder(model=name, min_ctx=512, rungs=rungs)
        return self.desks[name]

    def ask(self, name: str, now_s: float) -> FakeTicket:
        """One request; a model that starts for it is placed at once."""
        ticket = FakeTicket()
        was = self.desks[name].state
        self.desks[name].acquire(ticket, now_s)
        if self.desks[name].state is RunnerState.STARTING and was is not RunnerState.STARTING:
            self.residency.ask(self.desks[name], self.ladders[name], now_s)
        return ticket

    def ready(self, name: str, now_s: float) -> None:
        self.desks[name].ready(name, FACTS, now_s)

    def serve(self, name: str, now_s: float) -> None:
        """A whole request, after which the model is idle in memory."""
        ticket = self.ask(name, now_s)
        if self.desks[name].state is RunnerState.STARTING:
            self.ready(name, now_s)
        self.desks[name].release(ticket, now_s, succeeded=True)

    def gone(self, name: str, now_s: float) -> None:
        """Its process has ended; who waited for that is placed."""
        self.memory.touched.pop(name, None)
        starts = self.desks[name].starts
        self.desks[name].gone(name, None, now_s)
        self.residency.tick(now_s)
        if self.desks[name].starts > starts:
            self.residency.ask(self.desks[name], self.ladders[name], now_s)

    def state(self, name: str) -> str:
        return self.desks[name].state.value

    @property
    def launched(self) -> list[str]:
        return [name for name, _ in self.memory.launched]
