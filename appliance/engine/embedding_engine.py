"""Embeddings and rerank scores: an engine for models that pool a sequence into one vector.

Inputs of all requests, taken in turn, are packed into batches that one pass computes; a step is one batch of
no more than the time bound takes, so that cancel and heartbeat act between them and nobody waits for
somebody's long list. A single input cannot be divided (its attention may look both ways): one that takes
longer than the bound is announced (`expected_s`). Nothing is cached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import Span
from appliance.engine.cost import StepCost
from appliance.engine.interface import Prepared, Said
from appliance.engine.meter import Meter
from appliance.errors import ClientGone, EngineFault, OutpostError, to_wire
from appliance.wire.messages import EngineStats, Failed, ModelFacts, Result, SetLimits, WireError


class PoolingBackend(Protocol):
    """A context with pooling. Used by the engine's thread only."""

    n_slots: int
    n_batch: int

    def clear(self) -> None: ...
    def encode_pooled(self, spans: list[Span]) -> None: ...
    def pooled(self, slot: int, width: int) -> NDArray[np.float32]: ...


@dataclass(slots=True)
class PoolingRequest:
    """An Embed or a Rerank on its way."""

    id: int
    inputs: list[list[int]]
    ranks: bool
    normalize: bool
    begun: int = 0
    """Inputs that a batch took."""
    results: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        return sum(len(tokens) for tokens in self.inputs)


class EmbeddingEngine:
    """Owned by the runner's main thread; `prepare` only reads."""

    def __init__(
        self,
        backend: PoolingBackend,
        *,
        facts: ModelFacts,
        width: int,
        meter: Meter,
        prepare: Callable[[Any, Callable[[], bool]], Any],
        step_bound_s: float,
        close: Callable[[], None] | None = None,
    ) -> None:
        """`width`: floats of one pooled vector; 1 for a model that ranks."""
        self.facts = facts
        self.prepare = prepare
        self._backend = backend
        self._close = close
        self._width = width
        self._meter = meter
        self._requests: dict[int, PoolingRequest] = {}
        self._turns: deque[int] = deque()
        """Ids of the requests with inputs that no batch took, the next one first."""
        self.cost = StepCost()
        self._step_bound_s = step_bound_s
        self._steps = 0
        self._limits = SetLimits()

    def submit(self, prepared: Prepared) -> list[Said]:
        assert isinstance(prepared, PoolingRequest)
        self._requests[prepared.id] = prepared
        if not prepared.inputs:
            return [self._finish(prepared.id)]
        self._turns.append(prepared.id)
        return []

    def cancel(self, request_id: int) -> list[Said]:
        if self._requests.pop(request_id, None) is None:
            return []
        self._turns = deque(key for key in self._turns if key != request_id)
        return [_failed(request_id, ClientGone())]

    def set_limits(self, limits: SetLimits) -> None:
        self._limits = limits

    def has_work(self) -> bool:
        return bool(self._turns)

    def expected_s(self) -> float:
        request = self._requests[self._turns[0]]
        return self.cost.predict_s(passes=1, tokens=len(request.inputs[request.begun]))

    def stats(self) -> EngineStats:
        return self._meter.stats(
            running=len(self._requests),
            waiting=sum(len(one.inputs) - one.begun for one in self._requests.values()),
            steps=self._steps,
            kv_cells_used=0,
            kv_cells=0,
            prefixes=0,
        )

    def rest(self) -> None:
        """Nothing is done ahead."""

    def hibernate(self) -> None:
        """Nothing is kept between two inputs."""

    def close(self) -> None:
        """Free what is under the engine. Nothing may be called afterwards."""
        if self._close is not None:
            self._close()

    def step(self) -> list[Said]:
        """Compute one batch."""
        self._steps += 1
        batch = self._next_batch()
        spans = [
            Span(slot, 0, tokens, len(tokens))
            for slot, tokens in enumerate(self._requests[key].inputs[index] for key, index in batch)
        ]
        self._backend.clear()
        began = self._meter.begin()
        try:
            self._backend.encode_pooled(spans)
        except EngineFault as fault:
            return self._fail({key for key, _ in batch}, fault)
        tokens = sum(len(span.tokens) for span in spans)
        self.cost.observe(passes=1, tokens=tokens, seconds=self._meter.end(began))
        self._meter.prompt_tokens += tokens
        for slot, (key, index) in enumerate(batch):
            self._requests[key].results[index] = self._backend.pooled(slot, self._width)
        return [self._finish(key) for key in dict.fromkeys(key for key, _ in batch) if self._is_done(key)]

    def _next_batch(self) -> list[tuple[int, int]]:
        """(request, input) of as many inputs as the pass and the time bound take, at least one; one of each
        request in turn.
        """
        batch: list[tuple[int, int]] = []
        room = min(self._backend.n_batch, self.cost.tokens_within(self._step_bound_s))
        if self._limits.token_budget is not None:
            room = min(room, self._limits.token_budget)
        while self._turns and len(batch) < self._backend.n_slots:
            key = self._turns[0]
            request = self._requests[key]
            size = len(request.inputs[request.begun])
            if batch and size > room:
                break
            room -= size
            batch.append((key, request.begun))
            request.begun += 1
            self._turns.popleft()
            if request.begun < len(request.inputs):
                self._turns.append(key)
        return batch

    def _is_done(self, key: int) -> bool:
        request = self._requests[key]
        return len(request.results) == len(request.inputs)

    def _finish(self, key: int) -> Result:
        request = self._requests.pop(key)
        vectors = [request.results[index] for index in range(len(request.inputs))]
        if request.ranks:
            scores = [float(vector[0]) for vector in vectors]
            return Result(id=key, scores=scores, prompt_tokens=request.prompt_tokens)
        if request.normalize:
            vectors = [_unit(vector) for vector in vectors]
        packed = [vector.astype("<f4").tobytes() for vector in vectors]
        return Result(id=key, vectors=packed, prompt_tokens=request.prompt_tokens)

    def _fail(self, keys: set[int], fault: EngineFault) -> list[Said]:
        for key in keys:
            self.cancel(key)
        return [_failed(key, fault) for key in keys]


def _failed(request_id: int, error: OutpostError) -> Failed:
    name, fields = to_wire(error)
    return Failed(id=request_id, error=WireError(name=name, fields=fields))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else vector
