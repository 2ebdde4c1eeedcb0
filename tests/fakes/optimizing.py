"""What `outpost optimize` works with, without llama.cpp: a board, a quantiser that copies, a judge that says
what it is told to say.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import InvalidRequest
from appliance.hardware.chip import Chip
from appliance.optimizing.standing import Standing
from appliance.store.content import Wanted
from appliance.store.trials import Duel
from appliance.supervisor.quantizer import checked_kind
from appliance.wire.judge import Divergence, Figures, Judged
from tests.fakes.model_files import generator

AVX2 = Chip(
    architecture="x86_64", name="Some Processor", features=frozenset({"avx2", "fma", "f16c"}), cores=2
)
HERE = Standing(chip=AVX2, build="llama.cpp 0123456789ab, no own kernels")
ORIGINAL = Figures(prefill_per_s=100.0, decode_per_s={1: 10.0, 8: 40.0, 32: 80.0})
FAST = Figures(prefill_per_s=200.0, decode_per_s={1: 11.0, 8: 64.0, 32: 136.0})
SLOW = Figures(prefill_per_s=90.0, decode_per_s={1: 9.5, 8: 40.0, 32: 80.0})


def divergence(mean: float = 0.003) -> Divergence:
    return Divergence(
        tokens=1968,
        mean=mean,
        p99=5 * mean,
        greatest=20 * mean,
        same_top=0.95,
        original_perplexity=24.1,
        candidate_perplexity=24.2,
    )


def judged(candidate: Figures = FAST, *, mean: float = 0.003) -> Judged:
    return Judged(divergence=divergence(mean), n_threads=2, original=ORIGINAL, candidate=candidate)


@dataclass
class FakeTools:
    """Owned by the test."""

    here: Standing = HERE
    available: int | None = 64 << 30
    verdicts: dict[str, Judged | Exception] = field(default_factory=dict)
    """By kind; others are `judged()`."""
    fault: Exception | None = None
    """Of the quantiser."""
    made: list[str] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)
    seed: int = 2
    """Of the file that the next quantisation gives."""

    def standing(self) -> Standing:
        return self.here

    def available_bytes(self) -> int | None:
        return self.available

    def check(self, kind: str) -> str:
        return checked_kind(kind)

    def requantize(
        self,
        sources: Sequence[Path],
        target: Path,
        kind: str,
        *,
        model: str,
        report: Callable[[float], None],
        wanted: Wanted,
    ) -> None:
        del model
        if not sources:
            raise InvalidRequest(reason="nothing to read")
        wanted()
        self.made.append(kind)
        shutil.copyfile(generator(seed=self.seed), target)
        self.seed += 1
        if self.fault is not None:
            raise self.fault
        report(1.0)

    def judge(
        self, duel: Duel, *, report: Callable[[str, float], None], wanted: Wanted, is_patient: bool
    ) -> Judged:
        del is_patient
        self.duels.append(duel)
        report("loading", 0.5)
        report("quality", 0.5)
        wanted()
        told = self.verdicts.get(self.made[-1], judged())
        if isinstance(told, Exception):
            raise told
        report("speed", 1.0)
        return told
