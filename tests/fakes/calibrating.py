"""A board for `calibrating.course` that computes nothing: it says how fast each setup is."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from appliance.calibrating.course import Wish
from appliance.calibrating.values import Choice, Findings, Order, Setup, Told
from appliance.hardware.chip import Chip
from appliance.optimizing.standing import Standing
from appliance.wire.calibrate import Kind, Taken
from appliance.wire.messages import Placement

Result = TypeVar("Result")

PLACEMENT = Placement(n_ctx_seq=4096, n_seq_max=64, kv_cells=0)
SERVED = Setup(placement=PLACEMENT, own_kernels=True)
HERE = Standing(
    chip=Chip(architecture="aarch64", name="Some Chip", features=frozenset({"asimd", "asimddp"}), cores=4),
    build="llama.cpp 0123456789ab, no own kernels",
)


def wish(**changes: object) -> Wish:
    told: dict[str, object] = {
        "setup": SERVED,
        "limit_s": 60.0,
        "usable_cores": 4,
        "has_own_kernels": True,
        **changes,
    }
    return Wish(**told)  # type: ignore[arg-type]


@dataclass
class FakeBoard:
    """Owned by the test. Tokens per second of a setup by `speed`; time passes as it would."""

    speed: Callable[[Order], float] = lambda _order: 100.0
    noise: float = 0.0
    """Most relative deviation."""
    others_share: float | None = 0.0
    default_threads: int = 3
    window: int = 4096
    is_mapped: bool = True
    seed: int = 1
    faults: Callable[[Order], str | None] = lambda _order: None
    joules_per_s: float | None = None
    overhead_s: float = 0.05
    spent_s: float = 0.0
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, steps: Generator[Order, Told, Result]) -> Result:
        try:
            order = next(steps)
            while True:
                order = steps.send(self.told(order))
        except StopIteration as done:
            result: Result = done.value
            return result

    def told(self, order: Order) -> Told:
        self.orders.append(order)
        fault = self.faults(order)
        if fault is not None:
            self.spent_s += self.overhead_s
            return Told(taken=None, spent_s=self.spent_s, fault=fault)
        factor = 1.0 + self.noise * self._random.uniform(-1, 1)
        piece = order.piece
        rate = self.speed(order) * factor
        room = min(piece.tokens, self.window - piece.start) * piece.width
        tokens = 0 if piece.kind is Kind.LOAD else max(1, min(room, int(rate * piece.most_s)))
        seconds = max(1, tokens) / rate
        self.spent_s += seconds + self.overhead_s
        taken = Taken(
            tokens=tokens,
            seconds=seconds,
            n_threads=order.setup.placement.n_threads or self.default_threads,
            window=self.window,
            width=8,
            elapsed_s=seconds,
            is_mapped=self.is_mapped,
            others_share=self.others_share,
        )
        joules = None if self.joules_per_s is None else self.joules_per_s * seconds
        return Told(taken=taken, spent_s=self.spent_s, joules=joules)


def findings(**changes: object) -> Findings:
    told: dict[str, object] = {
        "axes": (),
        "choice": Choice(),
        "cache": None,
        "ubatch": (),
        "others_share": 0.01,
        "spent_s": 41.5,
        **changes,
    }
    return Findings(**told)  # type: ignore[arg-type]
