"""What was decided, with the figures it was decided by: a small JSON blob that lies beside the variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.optimizing.standing import Standing
from appliance.optimizing.verdict import Reason, Trial, Verdict
from appliance.wire.judge import Divergence, Figures

VERSION: Final = 1


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate."""

    kind: str
    size_bytes: int
    reason: Reason
    text: str
    score: float | None = None
    original: Figures | None = None
    """Measured in turn with the candidate, so each candidate has its own."""
    candidate: Figures | None = None
    divergence: Divergence | None = None
    others_share: float | None = None
    """Of the time of all cores while speed was measured: what others computed, 0 to 1; None: unknown."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    version: int = VERSION
    model: str
    """Digest of the original's manifest."""
    original: str
    """Its type of weights."""
    original_bytes: int
    kept: str | None
    """The variant's type of weights; None: the original is served."""
    chip: str
    build: str
    measured_at: str
    """ISO 8601, UTC."""
    max_kl: float
    min_speedup: float
    tokens: int
    tried: list[Tried] = []

    @property
    def variant(self) -> Tried | None:
        return next((one for one in self.tried if one.reason is Reason.KEPT), None)

    @property
    def sentence(self) -> str:
        """For `ps` and `show`."""
        one = self.variant
        if self.kept is None or one is None or one.original is None or one.candidate is None:
            return f"the original is served: {self.why_not}"
        prefill = one.candidate.prefill_per_s / max(one.original.prefill_per_s, 1e-9)
        loss = f", KL {one.divergence.mean:.4f}" if one.divergence else ""
        return f"{self.kept} variant of {self.original} ({prefill:.1f}x prefill{_decode(one)}{loss})"

    @property
    def why_not(self) -> str:
        told = "; ".join(f"{one.kind}: {one.text}" for one in self.tried)
        return told or f"nothing is known to be faster than {self.original} on this chip"

    def stale(self, standing: Standing) -> str | None:
        """Why it says nothing here; None: it holds."""
        if self.chip != standing.chip.mark:
            return f"it was measured on another chip ({self.chip})"
        if self.build != standing.build:
            return f"it was measured with another build ({self.build})"
        return None


def tried(trials: Sequence[Trial], found: Sequence[Verdict]) -> list[Tried]:
    return [
        Tried(
            kind=trial.kind,
            size_bytes=trial.size_bytes,
            reason=verdict.reason,
            text=verdict.text,
            score=verdict.score,
            original=trial.judged.original if trial.judged else None,
            candidate=trial.judged.candidate if trial.judged else None,
            divergence=trial.judged.divergence if trial.judged else None,
            others_share=trial.judged.others_share if trial.judged else None,
        )
        for trial, verdict in zip(trials, found, strict=True)
    ]


def render(record: Record) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(record, str_keys=True), order="sorted")


def parse(content: bytes) -> Record | None:
    """None: no record that this version understands. A record is never worth more than a new measurement."""
    try:
        record = msgspec.json.decode(content, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record if record.version == VERSION else None


def _decode(one: Tried) -> str:
    before = one.original.decode_per_s.get(1) if one.original else None
    after = one.candidate.decode_per_s.get(1) if one.candidate else None
    return f", {after / before:.1f}x decode" if before and after else ""
