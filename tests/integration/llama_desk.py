"""An engine over a real (tiny) model, opened and closed by a `with`, and short ways to ask it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.engine.engine import Engine
from appliance.engine.interface import Said
from appliance.engine.loader import open_engine
from appliance.engine.prompt import TemplateRoom
from appliance.errors import OutpostError, from_wire
from appliance.wire.messages import (
    PROTOCOL,
    Adapter,
    AdapterScale,
    Constraint,
    Delta,
    EngineSettings,
    Failed,
    Generate,
    Hibernation,
    Load,
    Placement,
    Request,
    Result,
    SamplingParams,
    Step,
    TextPrompt,
    TokensPrompt,
    Usage,
)
from tests.fakes.fixed_cost import FixedCost

GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)


class Answer:
    """One choice of one request."""

    def __init__(self, deltas: list[Delta]) -> None:
        self.deltas = deltas
        self.text = "".join(delta.text for delta in deltas)
        self.logprobs = [one for delta in deltas for one in delta.logprobs]
        self.tokens = [one.token for one in self.logprobs]
        self.finish_reason = deltas[-1].finish_reason
        self.stop = deltas[-1].stop


class Desk:
    """Placement and settings are those of `Load`, small unless told otherwise."""

    def __init__(
        self,
        path: Path,
        *,
        n_ctx_seq: int = 512,
        n_seq_max: int = 4,
        pooling: str | None = None,
        speculation: bool = False,
        prefix_reuse: bool = True,
        draft: Path | None = None,
        adapters: Sequence[Adapter] = (),
        n_threads: int = 1,
        cache_type: str = "f16",
        own_kernels: bool = True,
        hibernation: Hibernation | None = None,
    ) -> None:
        load = Load(
            protocol=PROTOCOL,
            model="tiny",
            path=str(path),
            placement=Placement(
                n_ctx_seq=n_ctx_seq,
                n_seq_max=n_seq_max,
                kv_cells=n_ctx_seq * n_seq_max,
                n_threads=n_threads,
                type_k=cache_type,
                type_v=cache_type,
                pooling=pooling,
            ),
            settings=EngineSettings(
                speculation=speculation,
                prefix_reuse=prefix_reuse,
                adapt_threads=False,
                own_kernels=own_kernels,
            ),
            draft_path=str(draft) if draft is not None else None,
            adapters=list(adapters),
            hibernation=hibernation,
        )
        self.engine = open_engine(
            load, render=TemplateRoom(lambda: datetime.now(UTC)), on_progress=lambda _: None
        )
        if isinstance(self.engine, Engine):
            self.engine.cost = FixedCost()
        self._id = 0
        self._deltas: list[Delta] = []
        self._results: dict[int, Result] = {}
        self.failures: dict[int, OutpostError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()

    @property
    def generator(self) -> Engine:
        assert isinstance(self.engine, Engine)
        return self.engine

    # ── asking ───────────────────────────────────────────────────────────────────────────────────

    def next_id(self) -> int:
        self._id += 1
        return self._id

    def begin(self, request: Request) -> int:
        prepared = self.engine.prepare(request, lambda: True)
        if isinstance(prepared, Result):
            self._results[request.id] = prepared
        else:
            self.hear(self.engine.submit(prepared))
        return request.id

    def generate(
        self,
        prompt: str | list[int],
        *,
        sampling: SamplingParams = GREEDY,
        max_tokens: int | None = 24,
        n: int = 1,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        top_logprobs: int | None = 0,
        adapters: Sequence[AdapterScale] = (),
        scope: str = "",
        cache_prompt: bool = True,
    ) -> int:
        """Begins; the answer's deltas hold the tokens, too, as log-probabilities."""
        return self.begin(
            Generate(
                id=self.next_id(),
                prompt=TextPrompt(text=prompt) if isinstance(prompt, str) else TokensPrompt(tokens=prompt),
                sampling=sampling,
                max_tokens=max_tokens,
                n=n,
                stop=list(stop),
                constraint=constraint,
                top_logprobs=top_logprobs,
                adapters=list(adapters),
                scope=scope,
                cache_prompt=cache_prompt,
            )
        )

    def ask(
        self,
        prompt: str | list[int],
        *,
        sampling: SamplingParams = GREEDY,
        max_tokens: int | None = 24,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        top_logprobs: int | None = 0,
        adapters: Sequence[AdapterScale] = (),
    ) -> Answer:
        """One request, to its end."""
        key = self.generate(
            prompt,
            sampling=sampling,
            max_tokens=max_tokens,
            stop=stop,
            constraint=constraint,
            top_logprobs=top_logprobs,
            adapters=adapters,
        )
        self.finish()
        return self.answer(key)

    def call(self, request: Request) -> Result:
        """A request that is not a generation, to its end."""
        self.begin(request)
        self.finish()
        return self._results[request.id]

    # ── stepping ─────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        self.hear(self.engine.step())

    def finish(self) -> None:
        for _ in range(5000):
            if not self.engine.has_work():
                return
            self.step()
        raise AssertionError("still at work")

    def cancel(self, key: int) -> None:
        self.hear(self.engine.cancel(key))

    def hear(self, said: Sequence[Said]) -> None:
        for one in said:
            if isinstance(one, Step):
                self._deltas.extend(one.deltas)
            elif isinstance(one, Result):
                self._results[one.id] = one
            elif isinstance(one, Failed):
                self.failures[one.id] = from_wire(one.error.name, one.error.fields)

    def answer(self, key: int, choice: int = 0) -> Answer:
        return Answer([delta for delta in self._deltas if (delta.id, delta.choice) == (key, choice)])

    def result(self, key: int) -> Result:
        return self._results[key]

    def answer_began(self, key: int) -> bool:
        return any(delta.id == key for delta in self._deltas)

    def usage(self, key: int) -> Usage:
        return next(delta.usage for delta in self._deltas if delta.id == key and delta.usage is not None)
