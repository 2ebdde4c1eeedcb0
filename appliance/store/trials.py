"""One candidate of `optimize.py`: weights in another type, made aside and measured against the original.

Nothing here knows a name or changes the store, but for the file it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from appliance.errors import ModelInvalid, RunnerError
from appliance.gguf.header import read_header
from appliance.gguf.quantized_size import quantized_bytes
from appliance.optimizing.standing import Standing
from appliance.optimizing.verdict import Trial, lacking
from appliance.store import admission
from appliance.store.content import Progress, Report, Wanted
from appliance.store.descriptor import Descriptor
from appliance.store.reference import Reference
from appliance.store.space import Space
from appliance.store.variants import needed_bytes
from appliance.wire.judge import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Two files of one model, to be compared as they would be served."""

    model: str
    original: Sequence[Path]
    candidate: Path
    placement: Mapping[str, object]
    max_kl: float
    """Past it there is no use in measuring speed."""


class Tools(Protocol):
    """What it takes: this board, and children that work."""

    def standing(self) -> Standing: ...

    def available_bytes(self) -> int | None:
        """Of memory."""

    def check(self, kind: str) -> str:
        """llama.cpp's name of a type. Raises InvalidRequest with the list of them."""

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
        """As `build.Quantize`, also of weights that are quantised already."""

    def judge(
        self, duel: Duel, *, report: Callable[[str, float], None], wanted: Wanted, is_patient: bool
    ) -> Judged:
        """`is_patient`: it waits for a quiet machine; else it raises MachineBusy soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    reference: Reference
    named: Descriptor
    paths: tuple[Path, ...]
    quantization: str
    size_bytes: int
    placement: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Of one original. Owned by the thread of the verb."""

    original: Original
    tools: Tools
    space: Space
    max_kl: float
    is_patient: bool
    report: Report

    def run(self, kind: str, path: Path) -> Trial:
        """Make it in the empty file `path` and measure it. What is the candidate's own fault stands in the
        trial. Raises InvalidRequest, InsufficientSpace, MachineBusy.
        """
        original, tools, report = self.original, self.tools, self.report
        expected = _sized(kind, self._expected_bytes(kind))
        both_bytes = expected.needed_bytes + needed_bytes(original.size_bytes)
        if reason := lacking(expected.needed_bytes, both_bytes, available_bytes=tools.available_bytes()):
            return replace(expected, too_large=reason)
        self._make(kind, path)
        trial = _sized(kind, path.stat().st_size)
        duel = Duel(
            model=original.reference.display,
            original=original.paths,
            candidate=path,
            placement=original.placement,
            max_kl=self.max_kl,
        )
        against = f"{trial.kind} against {original.quantization}"
        news = Progress(status=f"loading {against}")

        def told(what: str, share: float) -> None:
            nonlocal news
            news = _judging(what, share, against, original.size_bytes + trial.size_bytes)
            report(news)

        try:
            admission.check([path], model=duel.model)
            judged = tools.judge(duel, report=told, wanted=lambda: report(news), is_patient=self.is_patient)
        except (ModelInvalid, RunnerError) as error:
            return replace(trial, fault=error.message)
        return replace(trial, judged=judged)

    def _make(self, kind: str, path: Path) -> None:
        original, report = self.original, self.report
        needed = self._expected_bytes(kind)
        news = Progress(
            status=f"quantizing {original.quantization} to {kind.upper()}",
            total_bytes=original.size_bytes,
            completed_bytes=0,
        )
        with self.space.room() as room:
            room.require(needed)

            def told(share: float) -> None:
                nonlocal news
                room.keep(max(0, needed - path.stat().st_blocks * 512))
                news = replace(news, completed_bytes=int(original.size_bytes * share))
                report(news)

            report(news)
            self.tools.requantize(
                original.paths,
                path,
                kind,
                model=original.reference.display,
                report=told,
                wanted=lambda: report(news),
            )

    def _expected_bytes(self, kind: str) -> int:
        """At most."""
        return quantized_bytes([read_header(path) for path in self.original.paths], kind)


def _sized(kind: str, size_bytes: int) -> Trial:
    return Trial(kind=kind.upper(), size_bytes=size_bytes, needed_bytes=needed_bytes(size_bytes))


def _judging(what: str, share: float, against: str, size_bytes: int) -> Progress:
    """How far it is, as a share of the bytes that are compared: what a bar of the other verbs counts."""
    if what == "waiting":
        return Progress(status="waiting: speed is measured while nobody waits for an answer")
    word = "loading" if what == "loading" else "comparing"
    return Progress(
        status=f"{word} {against}", total_bytes=size_bytes, completed_bytes=int(size_bytes * share)
    )
