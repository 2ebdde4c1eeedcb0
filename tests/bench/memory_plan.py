"""`python -m tests.bench.memory_plan`: the predicted peak of a runner against the measured one, on twenty
loads of the starter model and what our quantiser makes of it.

A load is a real runner, boxed in, that is asked until every cell of every slot has been written: a prompt
that fills its slot with one sentence again and again (the model goes on with it, so drafts are long and their
outputs many), and an answer to the last token. Measured is VmHWM, the most that the process ever had
resident.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import OutpostError
from appliance.planner.facts import Footprint
from appliance.supervisor.client import Runner
from appliance.supervisor.launch import launch
from appliance.supervisor.policy import ModelSpec, RunnerPolicy
from appliance.supervisor.process import RUNNER_COMMAND
from appliance.supervisor.quantizer import Quantizer
from appliance.supervisor.sizer import ModelFiles, Sizer
from appliance.wire.messages import (
    Delta,
    EngineSettings,
    Generate,
    Placement,
    Ready,
    Result,
    SamplingParams,
    Tokenize,
    TokensPrompt,
)
from tests.daemon import STARTER

_POLICY: Final = RunnerPolicy(load_timeout_s=300.0, heartbeat_timeout_s=600.0)
_WAIT_S: Final = 600.0
_MIB: Final = 1024 * 1024
_ANSWER: Final = 8
_DRAFTED: Final = 120
"""Tokens of an answer: with drafts more, until they are long."""
_SENTENCE: Final = (
    "The old captain watches the grey sea from his window, counts the ships that come and go, "
    "and writes their names into a small blue book. "
)
_MOST_OVER: Final = 1.05


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    """The starter model itself (q4_1), or what it is requantised to."""
    n_ctx_seq: int
    n_slots: int
    cache_type: str = "f16"
    n_ubatch: int = 512
    speculation: bool = True

    @property
    def placement(self) -> Placement:
        return Placement(
            n_ctx_seq=self.n_ctx_seq,
            n_seq_max=self.n_slots,
            kv_cells=self.n_ctx_seq * self.n_slots,
            n_ubatch=self.n_ubatch,
            type_k=self.cache_type,
            type_v=self.cache_type,
        )


CASES: Final = (
    Case("q4_1", 1024, 1),
    Case("q4_1", 1024, 2, speculation=False),
    Case("q4_1", 2048, 1, speculation=False),
    Case("q4_1", 512, 4, n_ubatch=256, speculation=False),
    Case("q4_1", 256, 8, n_ubatch=128, speculation=False),
    Case("q4_1", 512, 1, "q8_0", n_ubatch=128, speculation=False),
    Case("q4_1", 1024, 2, n_ubatch=128, speculation=False),
    Case("q4_0", 1024, 2, speculation=False),
    Case("q4_0", 1024, 1),
    Case("q4_0", 512, 1, "q8_0", n_ubatch=256, speculation=False),
    Case("q4_0", 2048, 1, speculation=False),
    Case("q8_0", 1024, 1, speculation=False),
    Case("q8_0", 1024, 1),
    Case("q8_0", 512, 2, "q8_0", n_ubatch=256, speculation=False),
    Case("q8_0", 512, 4, speculation=False),
    Case("f16", 1024, 1),
    Case("f16", 1024, 2, speculation=False),
    Case("f16", 512, 1, "q4_0", n_ubatch=256, speculation=False),
    Case("f16", 256, 8, n_ubatch=256, speculation=False),
    Case("f16", 4096, 1, speculation=False),
)
FAST: Final = (
    Case("q4_1", 512, 2, n_ubatch=256, speculation=False),
    Case("q4_0", 512, 1, n_ubatch=128, speculation=False),
    Case("q8_0", 512, 2, "q8_0", n_ubatch=128, speculation=False),
    Case("f16", 512, 2, n_ubatch=256, speculation=False),
)
"""For `make test`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    predicted: Footprint
    measured_bytes: int
    loaded_bytes: int
    """Right after the load."""

    @property
    def ratio(self) -> float:
        return self.predicted.total_bytes / self.measured_bytes

    @property
    def holds(self) -> bool:
        return 1.0 <= self.ratio <= _MOST_OVER


def measure(cases: Sequence[Case], folder: Path) -> Iterator[Outcome]:
    sizer = Sizer(_POLICY)
    for case in cases:
        path = variant(case.kind, folder)
        files = ModelFiles(model=case.kind, paths=(path,), speculation=case.speculation)
        (predicted,) = sizer.sizes(files, [case.placement]).footprints
        assert predicted is not None
        loaded_bytes, measured_bytes = _peak_bytes(path, case)
        yield Outcome(case, predicted, measured_bytes, loaded_bytes)


def variant(kind: str, folder: Path) -> Path:
    if kind == "q4_1":
        return STARTER
    path = folder / f"{kind}.gguf"
    if not path.exists():
        Quantizer(_POLICY)(STARTER, path, kind, allow_requantize=True)
    return path


def _peak_bytes(path: Path, case: Case) -> tuple[int, int]:
    """Right after the load, and at the highest."""
    news: queue.SimpleQueue[Ready | OutpostError | None] = queue.SimpleQueue()
    runner = launch(
        ModelSpec(
            name=case.kind,
            path=str(path),
            placement=case.placement,
            # Whole batches, however slow this machine is just now.
            settings=EngineSettings(step_bound_s=60.0, speculation=case.speculation),
        ),
        policy=_POLICY,
        command=RUNNER_COMMAND,
        on_ready=lambda _, ready: news.put(ready),
        on_gone=lambda _, fault: news.put(fault),
    )
    runner.start()
    try:
        ready = news.get(timeout=_WAIT_S)
        assert isinstance(ready, Ready), ready
        assert ready.facts.n_seq_max == case.n_slots
        _fill(runner, case)
        return ready.measured_bytes, _peak_of(runner.pid)
    finally:
        runner.stop()
        runner.kill()
        runner.join(10.0)


def _fill(runner: Runner, case: Case) -> None:
    answer = _DRAFTED if case.speculation else _ANSWER
    length = case.n_ctx_seq - answer
    boxes = []
    for slot in range(case.n_slots):
        words = _tokens(runner, f"{slot}: {_SENTENCE}")
        boxes.append(
            runner.open(
                Generate(
                    id=0,
                    prompt=TokensPrompt(tokens=(words * (length // len(words) + 1))[:length]),
                    sampling=SamplingParams(temperature=0.0, ignore_eos=True),
                    max_tokens=answer,
                )
            )
        )
    for box in boxes:
        while not (isinstance(item := box.take(_WAIT_S), Delta) and item.usage is not None):
            assert item is not None, "no answer"


def _tokens(runner: Runner, text: str) -> list[int]:
    told = runner.open(Tokenize(id=0, text=text)).take(_WAIT_S)
    assert isinstance(told, Result) and told.tokens
    return told.tokens


def _peak_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


HEAD: Final = (
    "| model | context | slots | KV | ubatch | drafts | after load, MB | predicted peak, MB "
    "| measured peak, MB | over |\n|---|---|---|---|---|---|---|---|---|---|"
)


def row(outcome: Outcome) -> str:
    case = outcome.case
    sizes = (outcome.loaded_bytes, outcome.predicted.total_bytes, outcome.measured_bytes)
    megabytes = " | ".join(f"{size / _MIB:.1f}" for size in sizes)
    return (
        f"| {case.kind} | {case.n_ctx_seq} | {case.n_slots} | {case.cache_type} | {case.n_ubatch} "
        f"| {'yes' if case.speculation else 'no'} "
        f"| {megabytes} | {100 * (outcome.ratio - 1):+.1f} % |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory_plan", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="the four loads of `make test`")
    parser.add_argument("--parts", action="store_true", help="what predictions are made of")
    arguments = parser.parse_args()
    print(HEAD)
    held = []
    with tempfile.TemporaryDirectory(prefix="outpost-plan-") as directory:
        for outcome in measure(FAST if arguments.fast else CASES, Path(directory)):
            held.append(outcome.holds)
            print(row(outcome), flush=True)
            if arguments.parts:
                print(f"    {outcome.predicted}", flush=True)
    print(f"\n{sum(held)} of {len(held)} loads within -0/+5 %")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
