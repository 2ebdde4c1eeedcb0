"""`python -m tests.bench.memory_plan`: the predicted peak of a runner against the measured one, on twenty
loads of the starter model and what our quantiser makes of it, and on independent ones (`memory_cases.py`).

A load is a real runner, boxed in, that is brought to its peak: every cell of every slot is written (a prompt
that fills its slot with one text again and again, and an answer to the last token); the model goes on with
the text in all slots at once, so that drafts are long and their outputs many; full slots are exchanged and
copied. Measured is VmHWM, the most that the process ever had resident.
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
    Ready,
    Result,
    SamplingParams,
    Tokenize,
    TokensPrompt,
)
from tests.bench.memory_cases import CASES, CHECK, FAST, Case
from tests.daemon import STARTER
from tests.fakes.random_models import CIRCLE, MODELS, write_random

_POLICY: Final = RunnerPolicy(load_timeout_s=300.0, heartbeat_timeout_s=600.0)
_WAIT_S: Final = 600.0
_MIB: Final = 1024 * 1024
_ANSWER: Final = 8
_DRAFTED: Final = 240
"""Tokens of an answer: with drafts more, until they are long."""
_MOVED, _MOVED_DRAFTED = 16, 96
_MOST_ROUNDS: Final = 4
_SAME_BYTES: Final = 128 * 1024
"""Drafts are as long as pays on a machine as busy as this one is: asked for until that changes nothing."""
_SENTENCE: Final = (
    "The old captain watches the grey sea from his window, counts the ships that come and go, "
    "and writes their names into a small blue book. His daughter reads them aloud in the evening, "
    "when the lamp is lit and the wind has died down. "
)
"""Longer than the longest draft, which goes no further than the text that it repeats."""
_MOST_OVER: Final = 1.05


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
    if kind in MODELS and not path.exists():
        write_random(path, MODELS[kind])
    elif not path.exists():
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
        return ready.measured_bytes, peak_of(runner.pid)
    finally:
        runner.stop()
        runner.kill()
        runner.join(10.0)


def _fill(runner: Runner, case: Case) -> None:
    answer = _DRAFTED if case.speculation else _ANSWER
    prompts = [_prompt(runner, case, slot, case.n_ctx_seq - answer) for slot in range(case.n_slots)]
    _answered(runner, prompts, max_tokens=1)
    _go_on(runner, prompts, answer, case)
    if case.speculation and case.n_slots > 2:
        # Where many run, drafts may not pay; two alone have all the rows that a step has for them.
        _go_on(runner, prompts[:2], answer, case)
    _move(runner, case)


def _go_on(runner: Runner, prompts: Sequence[list[int]], answer: int, case: Case) -> None:
    peak_bytes = 0
    for _ in range(_MOST_ROUNDS):
        _answered(runner, prompts, max_tokens=answer)
        before, peak_bytes = peak_bytes, peak_of(runner.pid)
        if not case.speculation or peak_bytes - before < _SAME_BYTES:
            return


def _move(runner: Runner, case: Case) -> None:
    """Full slots exchange their contents, and one is copied into another."""
    answer = _MOVED_DRAFTED if case.speculation else _MOVED
    prompts = [_prompt(runner, case, slot, case.n_ctx_seq - answer) for slot in range(case.n_slots)]
    _answered(runner, prompts, max_tokens=1)
    if case.n_slots > 2:
        # They run side by side, the second ends first: the last one takes its place.
        _answered(runner, prompts, max_tokens=answer, second=2)
    # Whoever comes second finds the slot with its prefix busy.
    _answered(runner, prompts[:1] * min(2, case.n_slots), max_tokens=answer)


def _prompt(runner: Runner, case: Case, slot: int, length: int) -> list[int]:
    if case.kind in MODELS:
        first = CIRCLE * (10 + slot)
        words = list(range(first, first + CIRCLE))
    else:
        words = _tokens(runner, f"{slot}: {_SENTENCE}")
    return (words * (length // len(words) + 1))[:length]


def _answered(runner: Runner, prompts: Sequence[list[int]], *, max_tokens: int, second: int = 0) -> None:
    """`second`: tokens of the second answer, where it is to be shorter."""
    boxes = [
        runner.open(
            Generate(
                id=0,
                prompt=TokensPrompt(tokens=prompt),
                sampling=SamplingParams(temperature=0.0, ignore_eos=True),
                max_tokens=second if second and place == 1 else max_tokens,
            )
        )
        for place, prompt in enumerate(prompts)
    ]
    for box in boxes:
        while not (isinstance(item := box.take(_WAIT_S), Delta) and item.usage is not None):
            assert item is not None, "no answer"


def _tokens(runner: Runner, text: str) -> list[int]:
    told = runner.open(Tokenize(id=0, text=text)).take(_WAIT_S)
    assert isinstance(told, Result) and told.tokens
    return told.tokens


def peak_of(pid: int) -> int:
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
    parser.add_argument("--check", action="store_true", help="the independent loads alone")
    parser.add_argument("--only", default="", help="loads of this model")
    parser.add_argument("--parts", action="store_true", help="what predictions are made of")
    arguments = parser.parse_args()
    tables = {"the loads that the constants were set by": CASES, "independent loads": CHECK}
    if arguments.fast:
        tables = {"the loads of `make test`": FAST}
    elif arguments.check:
        del tables["the loads that the constants were set by"]
    with tempfile.TemporaryDirectory(prefix="outpost-plan-") as directory:
        held = [
            _told(
                title,
                [case for case in cases if arguments.only in ("", case.kind)],
                Path(directory),
                arguments.parts,
            )
            for title, cases in tables.items()
        ]
    return 0 if all(held) else 1


def _told(title: str, cases: Sequence[Case], folder: Path, parts: bool) -> bool:
    print(f"\n{title}\n\n{HEAD}")
    outcomes = []
    for outcome in measure(cases, folder):
        outcomes.append(outcome)
        print(row(outcome), flush=True)
        if parts:
            print(f"    {outcome.predicted}", flush=True)
    held = [outcome.holds for outcome in outcomes]
    over = [100 * (outcome.ratio - 1) for outcome in outcomes]
    print(f"\n{sum(held)} of {len(held)} loads within -0/+5 %: from {min(over):+.2f} to {max(over):+.2f} %")
    return all(held)


if __name__ == "__main__":
    sys.exit(main())
