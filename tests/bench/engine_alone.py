"""The engine alone, with no HTTP and no second process: what llama-batched-bench measures, done by our
engine.

Both decode N sequences together on two threads, in a context of the same size, after prompts of the same
length. batched-bench decodes random tokens and samples nothing; ours samples greedily, detokenises and says
every delta, so the ratio is the price of being an engine.

As a program (`python -m tests.bench.engine_alone N PROMPT ANSWER`) it prints decoded tokens per second. A
process of its own: the memory and threads of one measurement must not touch the next, and only this one loads
llama_cpp.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from appliance.engine.interface import EngineCore
from appliance.wire.messages import (
    PROTOCOL,
    EngineSettings,
    Failed,
    Generate,
    Load,
    Placement,
    SamplingParams,
    Step,
    TokensPrompt,
)
from tests.bench.load import BenchError
from tests.bench.peers import Peers
from tests.bench.servers import N_THREADS
from tests.daemon import STARTER

_SLACK_TOKENS: Final = 64
"""Sequences that were prefilled first decode on while the last is prefilled."""
_STEP_BOUND_S: Final = 60.0
"""Prompts are prefilled in whole batches, as by batched-bench, so that all sequences decode at one depth."""
_FIRST_TEXT_TOKEN: Final = 1000


@dataclass(frozen=True, slots=True)
class Shape:
    sequences: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def n_ctx_seq(self) -> int:
        return self.prompt_tokens + self.answer_tokens + _SLACK_TOKENS

    @property
    def n_ctx(self) -> int:
        return self.sequences * self.n_ctx_seq


SHAPES: Final = (Shape(1, 64, 192), Shape(8, 64, 64), Shape(32, 64, 32))


def measure_ours(shape: Shape) -> float:
    """Decoded tokens per second of our engine."""
    numbers = (shape.sequences, shape.prompt_tokens, shape.answer_tokens)
    command = [sys.executable, "-m", "tests.bench.engine_alone", *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise BenchError(f"the engine failed alone:\n{done.stderr[-3000:]}")
    return float(done.stdout)


def measure_batched_bench(peers: Peers, shape: Shape) -> float:
    """Decoded tokens per second of llama-batched-bench."""
    command = [str(peers.llama_batched_bench), *batched_bench_flags(shape)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=peers.library_env
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(rows) != 1:
        raise BenchError(f"llama-batched-bench failed:\n{done.stderr[-3000:]}")
    return float(rows[0]["speed_tg"])


def batched_bench_flags(shape: Shape) -> list[str]:
    flags = ["-m", str(STARTER), "-t", str(N_THREADS), "-c", str(shape.n_ctx), "-npl", str(shape.sequences)]
    return [
        *flags,
        "-npp",
        str(shape.prompt_tokens),
        "-ntg",
        str(shape.answer_tokens),
        "--output-format",
        "jsonl",
    ]


def _run_engine(shape: Shape) -> float:
    from appliance.engine.loader import open_engine
    from appliance.engine.prompt import TemplateRoom

    placement = Placement(
        n_ctx_seq=shape.n_ctx_seq, n_seq_max=shape.sequences, kv_cells=shape.n_ctx, n_threads=N_THREADS
    )
    settings = EngineSettings(speculation=False, prefix_reuse=False, step_bound_s=_STEP_BOUND_S)
    load = Load(protocol=PROTOCOL, model="bench", path=str(STARTER), placement=placement, settings=settings)
    engine = open_engine(load, render=TemplateRoom(lambda: datetime.now(tz=UTC)), on_progress=lambda _: None)
    for number in range(shape.sequences):
        engine.submit(engine.prepare(_request(number, shape), lambda: True))
    return _Decoding(engine, shape).tokens_per_s()


def _request(number: int, shape: Shape) -> Generate:
    rng = random.Random(number)
    tokens = [rng.randrange(_FIRST_TEXT_TOKEN, 40_000) for _ in range(shape.prompt_tokens)]
    return Generate(
        id=number + 1,
        prompt=TokensPrompt(tokens=tokens),
        sampling=SamplingParams(temperature=0.0, ignore_eos=True),
        max_tokens=shape.answer_tokens + _SLACK_TOKENS,
        cache_prompt=False,
        speculation=False,
    )


class _Decoding:
    """Steps the engine; the clock runs from the step in which the last sequence got its first token."""

    def __init__(self, engine: EngineCore, shape: Shape) -> None:
        self._engine = engine
        self._shape = shape

    def tokens_per_s(self) -> float:
        started: set[int] = set()
        while len(started) < self._shape.sequences:
            started |= set(self._step())
        begun = time.perf_counter()
        decoded = 0
        while decoded < self._shape.sequences * self._shape.answer_tokens:
            decoded += len(self._step())
        return decoded / (time.perf_counter() - begun)

    def _step(self) -> list[int]:
        """The ids that got a token in this step, once per token."""
        ids: list[int] = []
        for said in self._engine.step():
            if isinstance(said, Failed):
                raise BenchError(f"the engine failed a request: {said.error}")
            if isinstance(said, Step):
                ids += [delta.id for delta in said.deltas for _ in range(delta.tokens)]
                if any(delta.finish_reason for delta in said.deltas):
                    raise BenchError("a sequence ended before the measurement did")
        return ids


def main() -> int:
    sequences, prompt_tokens, answer_tokens = map(int, sys.argv[1:])
    print(_run_engine(Shape(sequences, prompt_tokens, answer_tokens)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
