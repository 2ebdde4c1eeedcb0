"""Two files of one model, side by side on this machine: how fast each is, and how far one is from the other.

Quality: the text in windows; both compute the same tokens, and every position's distributions are compared.
Speed: both in turn, in rounds, original first in one and candidate first in the next, so that heat and other
work meet both alike; the medians count. Between pieces of a second or two the driver is asked (`Permit`)
whether to go on or to take the last one again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from appliance.engine.cores import compute_cores
from appliance.engine.divergence import Comparison
from appliance.engine.judged_file import LEAD_TOKENS, JudgedFile, open_file
from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.library import initialise
from appliance.engine.llama.threadpool import Threadpool
from appliance.errors import InvalidRequest, ModelInvalid
from appliance.hardware import cpu
from appliance.wire.judge import Divergence, Figures, Judge, Judged, Step

WINDOW_TOKENS: Final = 512
CHUNK_TOKENS: Final = 128
"""Compared at once: so many rows of logits of both lie in memory."""
SKIPPED_TOKENS: Final = 16
"""At the start of a window: with so little before them, all models guess."""
_PREFILL_S: Final = 1.0
_DECODE_S: Final = 0.4
_LEAST_PREFILL: Final = 64
_MOST_STEPS: Final = 24
_LEAST_STEPS: Final = 3
_LEAST_JUDGED: Final = 32
_LEAST_ROUNDS: Final = 2

Permit = Callable[[Step], bool]
"""Waits for the driver; True: what was just measured is to be measured again."""
Run = Callable[[JudgedFile], float]
"""Tokens per second of one file."""


@dataclass(slots=True)
class _Samples:
    """Tokens per second of one file, a number each round."""

    prefill: list[float] = field(default_factory=list)
    decode: dict[int, list[float]] = field(default_factory=dict)

    def figures(self) -> Figures:
        return Figures(
            prefill_per_s=statistics.median(self.prefill),
            decode_per_s={width: statistics.median(taken) for width, taken in self.decode.items()},
        )


def judge(order: Judge, *, permit: Permit, on_progress: Callable[[float], None]) -> Judged:
    """Load both and compare them. Raises ModelInvalid for the faults of either, and InvalidRequest for a
    model that generates no text.
    """
    initialise()
    kernels.enable(wanted=order.own_kernels)
    n_threads, cores = compute_cores(order.placement)
    with ExitStack() as opened:
        pool = Threadpool(n_threads, cpus=cores)
        opened.callback(pool.close)

        def opened_file(paths: Sequence[str], *, loaded: float) -> JudgedFile:
            file = open_file(
                paths,
                order,
                n_threads=n_threads,
                pool=pool,
                window=WINDOW_TOKENS,
                chunk=CHUNK_TOKENS,
                on_progress=lambda share: on_progress(loaded + share / 2),
            )
            opened.callback(file.close)
            return file

        original = opened_file(order.original, loaded=0.0)
        candidate = opened_file(order.candidate, loaded=0.5)
        if not original.model.same_vocabulary(candidate.model):
            raise ModelInvalid(model=order.model, reason="the variant's vocabulary is not the original's")
        return _Judging(order, original, candidate, permit, n_threads).run()


class _Judging:
    """One comparison. Owned by the main thread of the child."""

    def __init__(
        self, order: Judge, original: JudgedFile, candidate: JudgedFile, permit: Permit, n_threads: int
    ) -> None:
        self._order = order
        self._files = (original, candidate)
        self._permit = permit
        self._n_threads = n_threads
        self._windows = _windows(order, original)
        self._widths = [width for width in order.widths if width <= original.n_slots]
        self._chunks = sum(len(_chunks(window)) for window in self._windows)
        self._done = 0
        self._spent_s = 0.0
        """In pieces that nothing disturbed."""

    def run(self) -> Judged:
        self._told("quality")
        divergence = self._quality()
        if not divergence.mean <= self._order.max_kl:
            return Judged(divergence=divergence, n_threads=self._n_threads)
        before, own_before = cpu.read_times(), cpu.read_own_ticks()
        original, candidate = self._speed()
        others = _others_share(before, cpu.read_times(), own_before, cpu.read_own_ticks())
        return Judged(
            original=original,
            candidate=candidate,
            divergence=divergence,
            n_threads=self._n_threads,
            others_share=others,
        )

    def _told(self, name: str) -> bool:
        """After a piece of work, and before the next."""
        total = self._chunks + self._order.rounds * (1 + len(self._widths))
        return self._permit(Step(done=self._done, total=total, name=name))

    def _piece(self, name: str, began_s: float) -> bool:
        """True: it was disturbed."""
        seconds = time.perf_counter() - began_s
        is_disturbed = self._told(name)
        if not is_disturbed:
            self._spent_s += seconds
        return is_disturbed

    # ── quality ─────────────────────────────────────────────────────────────────────────────────────

    def _quality(self) -> Divergence:
        """Of as many windows as half of the time allows, at least one."""
        comparison = Comparison()
        for number, window in enumerate(self._windows):
            if number and self._spent_s * (number + 1) / number > self._order.limit_s / 2:
                break
            for file in self._files:
                file.clear()
            for begin, end in _chunks(window):
                began_s = time.perf_counter()
                self._compare(comparison, window, begin, end)
                self._done += 1
                self._piece("quality", began_s)
        self._chunks = self._done
        return comparison.result()

    def _compare(self, comparison: Comparison, window: Sequence[int], begin: int, end: int) -> None:
        """Positions `begin` to `end` of a window whose earlier ones are computed."""
        rows = [file.logits_of(window[begin:end], start=begin) for file in self._files]
        # The last token of a window has nothing behind it, the first ones have too little before them.
        first, last = max(begin, SKIPPED_TOKENS), min(end, len(window) - 1)
        if first >= last:
            return
        targets = np.array(window[first + 1 : last + 1], np.int64)
        kept = slice(first - begin, last - begin)
        if not comparison.add(rows[0][kept], rows[1][kept], targets):
            raise ModelInvalid(model=self._order.model, reason="its weights give logits that are not finite")

    # ── speed ───────────────────────────────────────────────────────────────────────────────────────

    def _speed(self) -> tuple[Figures, Figures]:
        """In rounds, as long as there is time; at least two, or as many as were asked for."""
        samples = (_Samples(), _Samples())
        tests: list[tuple[int | None, Run]] = [(None, partial(_prefill, self._prompt()))]
        tests += [(width, partial(_decode, width, self._steps(width))) for width in self._widths]
        for number in range(self._order.rounds):
            if number >= _LEAST_ROUNDS and self._spent_s > self._order.limit_s:
                break
            for width, run in tests:
                self._measure(number, samples, run, width)
        return samples[0].figures(), samples[1].figures()

    def _measure(self, number: int, samples: tuple[_Samples, _Samples], run: Run, width: int | None) -> None:
        """One quantity of both, in turn; again as long as it is disturbed."""
        order = (0, 1) if number % 2 == 0 else (1, 0)
        while True:
            began_s = time.perf_counter()
            taken = {which: run(self._files[which]) for which in order}
            if not self._piece("speed", began_s):
                break
        self._done += 1
        for which, per_s in taken.items():
            kept = samples[which].prefill if width is None else samples[which].decode.setdefault(width, [])
            kept.append(per_s)

    def _prompt(self) -> list[int]:
        """As many tokens as the original computes in about a second. Pages both in, too."""
        window = self._windows[0]
        short = window[:_LEAST_PREFILL]
        candidate_first = reversed(self._files)
        per_s = [file.prefill(short) for file in candidate_first][-1]
        self._told("speed")
        return window[: max(len(short), int(per_s * _PREFILL_S))]

    def _steps(self, width: int) -> int:
        """Of decoding `width` sequences: as many as the original takes in the time that is given to it."""
        for file in self._files:
            file.decode(width, 1)
        per_s = self._files[0].decode(width, 1)
        self._told("speed")
        return max(_LEAST_STEPS, min(_MOST_STEPS, int(_DECODE_S * per_s / width)))


def _others_share(
    before: Mapping[int, cpu.CoreTimes],
    after: Mapping[int, cpu.CoreTimes],
    own_before: int | None,
    own_after: int | None,
) -> float | None:
    """Of the time of all cores between two readings, what others than this process computed, 0 to 1."""
    cores = before.keys() & after.keys()
    total = sum(after[core].total_ticks - before[core].total_ticks for core in cores)
    busy = sum(after[core].busy_ticks - before[core].busy_ticks for core in cores)
    if total <= 0 or own_before is None or own_after is None:
        return None
    return round(min(1.0, max(0.0, (busy - (own_after - own_before)) / total)), 3)


def _prefill(prompt: Sequence[int], file: JudgedFile) -> float:
    return file.prefill(prompt)


def _decode(width: int, steps: int, file: JudgedFile) -> float:
    return file.decode(width, steps)


def _windows(order: Judge, file: JudgedFile) -> list[list[int]]:
    """Of the text, each beginning as a text does. Raises InvalidRequest where it has hardly a token."""
    tokens = file.model.tokenize(order.text, add_special=False, parse_special=False)[: order.tokens]
    lead = file.model.tokenize("", add_special=True, parse_special=False)[:1] if file.model.adds_bos else []
    size = file.window - len(lead)
    windows = [[*lead, *tokens[begin : begin + size]] for begin in range(0, len(tokens), size)]
    # The rest of a text may be too short to say anything.
    kept = [window for window in windows if len(window) > SKIPPED_TOKENS + _LEAST_JUDGED] or windows[:1]
    if not kept or len(kept[0]) <= SKIPPED_TOKENS + LEAD_TOKENS:
        raise InvalidRequest(
            reason=f"the judged text has {len(tokens)} tokens in this vocabulary and a context of "
            f"{file.window}: too few to judge by"
        )
    return kept


def _chunks(window: Sequence[int]) -> list[tuple[int, int]]:
    ends = [*range(CHUNK_TOKENS, len(window), CHUNK_TOKENS), len(window)]
    return list(zip([0, *ends[:-1]], ends, strict=True))
