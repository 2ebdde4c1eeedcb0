"""An `Inference` without models: says what a script tells, notes what it was asked and when it was let go."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.errors import ClientGone, InsufficientMemory, ModelNotFound, Overloaded
from appliance.planner.choice import Chosen, Wait
from appliance.planner.facts import Ladder
from appliance.planner.fit_answer import FitAnswer
from appliance.supervisor.fit_wish import FitWish
from appliance.supervisor.inference import Call, Generation, ModelCard
from appliance.supervisor.policy import ModelDefaults
from appliance.supervisor.turn import Asker, Standing, Turn, Waiting
from appliance.wire.messages import (
    Accepted,
    ApplyTemplate,
    Delta,
    Detokenize,
    Embed,
    FinishReason,
    Generate,
    ModelFacts,
    Progress,
    Rerank,
    Result,
    Tokenize,
    Usage,
)
from tests.fakes.plain_budget import plain_budget, rung_of

MODEL = "fake/model:q4"
DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing comes for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Act:
    """Something happens meanwhile."""

    do: Callable[[], object]


Line = Delta | Progress | Silence | Act | Exception
Script = Callable[[Generate], Sequence[Line]]


def text_of(*pieces: str, n: int = 1, prompt_tokens: int = 7, cached_tokens: int = 3) -> list[Line]:
    """`pieces` as one delta each, for each of `n` choices in turn, then the ends; the last has the usage."""
    lines: list[Line] = [
        Delta(id=1, choice=choice, text=piece, tokens=1) for piece in pieces for choice in range(n)
    ]
    usage = Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        completion_tokens=len(pieces) * n,
        prefill_s=0.25,
        decode_s=0.5,
    )
    return lines + [
        Delta(id=1, choice=choice, text="", tokens=0, finish_reason=FinishReason.STOP, usage=last)
        for choice, last in ((choice, usage if choice == n - 1 else None) for choice in range(n))
    ]


def echo(request: Generate) -> list[Line]:
    """The default script: "Hello" in two pieces, for every choice asked for."""
    return text_of("Hel", "lo", n=request.n)


class FakeGeneration:
    """Used by one thread, as the real one."""

    def __init__(
        self, lines: Sequence[Line], let_go: Callable[[FakeGeneration], None], *, batch: int
    ) -> None:
        self._lines = list(lines)
        self._let_go = let_go
        self._batch = batch
        self.is_closed = False
        self.closed_after = -1
        """How many lines were taken when it was closed."""
        self._taken = 0
        self.accepted = Accepted(id=1, prompt_tokens=7, cached_tokens=3)

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        told: list[Delta | Progress] = []
        while len(told) < self._batch and self._taken < len(self._lines):
            line = self._lines[self._taken]
            if isinstance(line, Delta | Progress):
                told.append(line)
            elif told:
                break
            elif isinstance(line, Exception):
                raise line
            elif isinstance(line, Act):
                line.do()
            elif isinstance(line, Silence):
                self._be_silent(line, timeout_s)
                return None
            self._taken += 1
        assert told, "asked again after the last delta"
        return told

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.closed_after = self._taken
            self._let_go(self)

    def _be_silent(self, line: Silence, timeout_s: float) -> None:
        waited_s = min(timeout_s, line.seconds)
        time.sleep(waited_s)
        if line.seconds <= timeout_s:
            self._taken += 1
        else:
            self._lines[self._taken] = Silence(line.seconds - timeout_s)


class FakePending:
    """Used by one thread, as the real one."""

    def __init__(self, inference: FakeInference, generate: Callable[[], Generation]) -> None:
        self._inference = inference
        self._generate = generate
        self._looks = inference.looks
        self.is_closed = False
        inference.pending.append(self)

    def next(self, timeout_s: float) -> Generation | None:
        if self._looks > 0:
            self._looks -= 1
            return None
        if not self._inference.queue.wait(timeout_s):
            return None
        if self._inference.refuse_later is not None:
            raise self._inference.refuse_later
        return self._generate()

    def standing(self) -> Standing | None:
        return self._inference.standing

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeInference:
    """Any thread. `capacity` None: never full. `queue` cleared: requests wait for it before `Accepted`."""

    script: Script = echo
    capacity: int | None = None
    batch: int = 1
    """Deltas per `next`."""
    refuse: Exception | None = None
    """Raised by `generate` and `call`."""
    state: str = "ready"
    defaults: ModelDefaults = field(default_factory=ModelDefaults)
    queue: threading.Event = field(default_factory=threading.Event)
    requests: list[Generate] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    line: list[Waiting] = field(default_factory=list)
    """What `waiting` shows."""
    standing: Standing | None = None
    """Told to all who wait."""
    waited_s: float = 0.0
    looks: int = 0
    """So often `Pending.next` has nothing to say, at once."""
    refuse_later: Exception | None = None
    """Raised to who has begun to wait, after `looks`, and once `queue` is set."""
    pending: list[FakePending] = field(default_factory=list)
    keep_alives: list[float | None] = field(default_factory=list)
    unloaded: int = 0
    fit_wishes: list[FitWish] = field(default_factory=list)
    fit_outcome: Chosen | Wait | InsufficientMemory | None = None
    prompt_tokens: int = 7
    """Of every chat that is only counted."""
    generations: list[FakeGeneration] = field(default_factory=list)
    stand_ins: dict[str, str] = field(default_factory=dict)
    """Models that are too hot, and who answers instead."""
    gone: int = 0
    """Clients that left while they were queued."""

    def __post_init__(self) -> None:
        self.queue.set()
        self._lock = threading.Lock()
        self._running = 0

    def models(self) -> Sequence[ModelCard]:
        facts = ModelFacts(
            n_ctx_train=2048,
            n_ctx_seq=2048,
            n_seq_max=64,
            n_vocab=100,
            n_embd=DIMENSIONS,
            n_params=1,
            size_bytes=1,
            description="fake",
            has_chat_template=True,
        )
        return [
            ModelCard(
                name=MODEL,
                created_s=1_700_000_000,
                size_bytes=1,
                state=self.state,
                facts=facts,
                defaults=self.defaults,
            )
        ]

    def stand_in(self, model: str) -> str | None:
        return self.stand_ins.get(model)

    def find(self, model: str) -> ModelCard:
        self._check_name(model)
        return self.models()[0]

    def begin(self, model: str, request: Generate, *, asker: Asker) -> FakePending:
        """In line until `queue` is set; then as `generate`."""
        self._check(model)
        return FakePending(
            self,
            lambda: self.generate(model, request, asker=asker),
        )

    def waiting(self, *, owner: str | None = None) -> Sequence[Waiting]:
        return [shown for shown in self.line if owner in {None, shown.owner}]

    def load(self, model: str, *, asker: Asker) -> ModelCard:
        self._check(model)
        with self._lock:
            self.owners.append(asker.owner)
            self.keep_alives.append(asker.keep_alive_s)
        return self.find(model)

    def unload(self, model: str) -> ModelCard:
        self._check(model)
        with self._lock:
            self.unloaded += 1
        return self.find(model)

    def fit(self, model: str, wish: FitWish, *, asker: Asker) -> FitAnswer:
        """That its only rung fits, or `fit_outcome`."""
        self._check(model)
        with self._lock:
            self.owners.append(asker.owner)
            self.fit_wishes.append(wish)
        rung = rung_of(1 << 30)
        return FitAnswer(
            model=MODEL,
            ladder=Ladder(model=MODEL, min_ctx=512, rungs=(rung,)),
            outcome=self.fit_outcome or Chosen(rung=rung),
            budget=plain_budget(4 << 30),
            origin="a script",
        )

    def generate(self, model: str, request: Generate, *, asker: Asker) -> Generation:
        self._check(model)
        self._note(asker.turn)
        with self._lock:
            self.keep_alives.append(asker.keep_alive_s)
            self.requests.append(request)
            self.owners.append(asker.owner)
            if self.capacity is not None and self._running >= self.capacity:
                raise Overloaded(waiting=self._running, limit=self.capacity, retry_after_s=2.0)
            self._running += 1
        while not self.queue.wait(0.05):
            if asker.gone is not None and asker.gone():
                with self._lock:
                    self._running -= 1
                    self.gone += 1
                raise ClientGone
        generation = FakeGeneration(self.script(request), self._let_go, batch=self.batch)
        with self._lock:
            self.generations.append(generation)
        return generation

    def call(self, model: str, request: Call, *, asker: Asker) -> Result:
        self._check(model)
        self._note(asker.turn)
        with self._lock:
            self.keep_alives.append(asker.keep_alive_s)
            self.calls.append(request)
        match request:
            case Embed():
                vectors = [struct.pack("<4f", index, 0.5, -0.25, 1.0) for index in range(len(request.inputs))]
                return Result(id=1, vectors=vectors, prompt_tokens=5 * len(vectors))
            case Rerank():
                return Result(
                    id=1, scores=[float(len(document)) for document in request.documents], prompt_tokens=9
                )
            case Tokenize():
                pieces = [character.encode() for character in request.text]
                return Result(id=1, tokens=[piece[0] for piece in pieces], pieces=pieces)
            case Detokenize():
                return Result(id=1, text="".join(chr(token % 128) for token in request.tokens))
            case ApplyTemplate():
                return Result(id=1, text="rendered", prompt_tokens=self.prompt_tokens)

    @property
    def running(self) -> int:
        with self._lock:
            return self._running

    def _note(self, turn: Turn | None) -> None:
        """Who waits hears of it as from the real one."""
        if turn is not None:
            self.turns.append(turn)
            turn.arrived_at, turn.waited_s = self.standing, self.waited_s

    def _check(self, model: str) -> None:
        if self.refuse is not None:
            raise self.refuse
        self._check_name(model)

    def _check_name(self, model: str) -> None:
        if model.casefold() != MODEL:
            raise ModelNotFound(model=model, available=[MODEL])

    def _let_go(self, generation: FakeGeneration) -> None:
        with self._lock:
            self._running -= 1
