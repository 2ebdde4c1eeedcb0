"""`outpost optimize`: weights of a model in a type that is faster on this board, kept if they prove to be.

original ─► candidates of this chip ─► each: quantised aside ─► judged against the original ─► verdict
         ─► the best one becomes a blob ─► record ─► manifest ─► the link at the name, last of all

What is not kept leaves nothing but the record, so that nobody measures the same again. A cancel, a full disk
and a power cut leave the model as it was.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import (
    ClientGone,
    ContentError,
    InvalidRequest,
    ModelInvalid,
    OutpostError,
    RequestError,
    RunnerError,
    Unsupported,
)
from appliance.gguf.header import read_header
from appliance.gguf.quantized_size import quantized_bytes
from appliance.optimizing import record
from appliance.optimizing.candidates import candidates, hint
from appliance.optimizing.record import Record
from appliance.optimizing.standing import Standing
from appliance.optimizing.verdict import Bounds, Reason, Trial, Verdict, fits, verdicts
from appliance.store import admission
from appliance.store.content import Progress, Report, Wanted
from appliance.store.derived import Derivations, compose
from appliance.store.derived_link import DERIVED_LINK, link_to
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.media_types import DERIVED_RECORD
from appliance.store.reader import ModelReader
from appliance.store.reference import Reference
from appliance.store.serving import settings_of
from appliance.store.variants import needed_bytes
from appliance.store.verbs import Optimized, OptimizeWish
from appliance.wire.judge import Judged

MAX_CANDIDATES: Final = 8


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
class Optimizing:
    """What the composition gives to it."""

    tools: Tools | None = None
    """None: this process cannot."""
    bounds: Bounds = field(default_factory=Bounds)
    hints: bool = False
    """Tell of models that may be faster in another type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Original:
    reference: Reference
    named: Descriptor
    paths: tuple[Path, ...]
    quantization: str
    size_bytes: int
    placement: Mapping[str, object]


@dataclass(slots=True)
class _Best:
    """The candidate that wins so far; its file is kept, those of others go at once."""

    path: Path | None = None


class Optimizer:
    """Any thread; what outlives a call is in the layout."""

    def __init__(
        self,
        layout: Layout,
        reader: ModelReader,
        derivations: Derivations,
        *,
        given: Optimizing,
        on_change: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._reader = reader
        self._derivations = derivations
        self._tools = given.tools
        self._bounds = given.bounds
        self._on_change = on_change
        self._failed: set[Digest] = set()

    def optimize(self, reference: Reference, wish: OptimizeWish, report: Report) -> Optimized:
        """Minutes. Returns when the decision is durable and who serves the models knows it. Raises
        ModelNotFound, InvalidRequest, Unsupported, InsufficientSpace, MachineBusy.
        """
        if self._tools is None:
            raise Unsupported(feature="optimize", reason="this process has no llama.cpp")
        kinds = _kinds(wish, self._tools)
        self._layout.lookup(reference)  # what is wrong with the request is told before there is news
        report(Progress(status="reading the model"))
        original = self._original(reference)
        with self._layout.hold(list(self._layout.closure(original.named))):
            return self._work(original, kinds, wish, self._tools, report)

    def undo(self, reference: Reference) -> bool:
        """Whether there was something. The bytes go with the next gc. Raises ModelNotFound."""
        named = self._layout.find(reference)
        if DERIVED_LINK not in named.annotations:
            return False
        self._link(reference, named, None)
        self._on_change()
        return True

    def carry(self, source: Descriptor, target: Reference) -> None:
        """To a second name of the same content."""
        link = source.annotations.get(DERIVED_LINK)
        if link is not None:
            self._layout.annotate(target, source.digest, lambda before: {**before, DERIVED_LINK: link})
            self._on_change()

    def next(self, report: Report) -> Optimized | None:
        """As `optimize`, of the first model that this chip may be faster with, that is not settled and has
        not failed in this process. Raises MachineBusy.
        """
        if self._tools is None:
            return None
        standing = self._tools.standing()
        for reference, named in self._layout.references():
            if (
                named.digest in self._failed
                or self._layout.broken(named)
                or self._derivations.is_settled(named)
            ):
                continue
            with suppress(OutpostError):
                if hint(self._reader.config(named).quantization, standing) is None:
                    continue
            try:
                return self.optimize(reference, OptimizeWish(is_patient=False), report)
            except ClientGone:
                raise
            except (RequestError, ContentError):
                self._failed.add(named.digest)
        return None

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────

    def _original(self, reference: Reference) -> _Original:
        named = self._layout.lookup(reference)
        model = self._reader.model(named)
        paths = tuple(self._layout.path(blob.digest) for blob in model.weights)
        name = reference.display
        facts = admission.check(paths, model=name)
        return _Original(
            reference=reference,
            named=named,
            paths=paths,
            quantization=facts.quantization or "unknown",
            size_bytes=sum(blob.size for blob in model.weights),
            placement=settings_of(model.params, model=name).placement,
        )

    def _work(
        self,
        original: _Original,
        kinds: tuple[str, ...],
        wish: OptimizeWish,
        tools: Tools,
        report: Report,
    ) -> Optimized:
        standing = tools.standing()
        kinds = kinds or candidates(original.quantization, standing)
        bounds = self._bounds if wish.max_kl is None else replace(self._bounds, max_kl=wish.max_kl)
        best, trials = _Best(), []
        with ExitStack() as files:
            for kind in kinds:
                path = files.enter_context(self._temporary())
                trials.append(self._trial(original, kind, path, tools, wish, report))
                self._keep_best(trials, bounds, best, path)
            found = verdicts(trials, bounds, available_bytes=None)
            decided = _record(original, trials, found, bounds, standing)
            for one in decided.tried:
                report(Progress(status=f"{one.kind}: {one.text}"))
            if not wish.dry_run:
                self._publish(original, decided, best.path if decided.kept else None, report)
        return Optimized(name=original.reference.display, record=decided, dry_run=wish.dry_run)

    def _trial(
        self, original: _Original, kind: str, path: Path, tools: Tools, wish: OptimizeWish, report: Report
    ) -> Trial:
        """Make it and measure it. What is the candidate's own fault stands in the trial."""
        name = original.reference.display
        available = tools.available_bytes()
        expected = _sized(kind, _expected_bytes(original, kind))
        both = expected.needed_bytes + needed_bytes(original.size_bytes)
        if large := fits(expected, available):
            return replace(expected, fault=large.text)
        if available is not None and both > available:
            text = f"to compare both takes {both} bytes of memory, {available} are available"
            return replace(expected, fault=text)
        self._make(original, kind, path, tools, report)
        trial = _sized(kind, path.stat().st_size)
        duel = Duel(
            model=name,
            original=original.paths,
            candidate=path,
            placement=original.placement,
            max_kl=self._bounds.max_kl if wish.max_kl is None else wish.max_kl,
        )
        against = f"{trial.kind} against {original.quantization}"
        news = Progress(status=f"loading {against}")

        def told(what: str, share: float) -> None:
            nonlocal news
            news = _judging(what, share, against, original.size_bytes + trial.size_bytes)
            report(news)

        try:
            admission.check([path], model=name)
            judged = tools.judge(duel, report=told, wanted=lambda: report(news), is_patient=wish.is_patient)
        except (ModelInvalid, RunnerError) as error:
            return replace(trial, fault=error.message)
        return replace(trial, judged=judged)

    def _make(self, original: _Original, kind: str, path: Path, tools: Tools, report: Report) -> None:
        needed, name = _expected_bytes(original, kind), original.reference.display
        news = Progress(
            status=f"quantizing {original.quantization} to {kind.upper()}",
            total_bytes=original.size_bytes,
            completed_bytes=0,
        )
        with self._layout.space.room() as room:
            room.require(needed)

            def told(share: float) -> None:
                nonlocal news
                room.keep(max(0, needed - path.stat().st_blocks * 512))
                news = replace(news, completed_bytes=int(original.size_bytes * share))
                report(news)

            report(news)
            tools.requantize(original.paths, path, kind, model=name, report=told, wanted=lambda: report(news))

    def _keep_best(self, trials: Sequence[Trial], bounds: Bounds, best: _Best, path: Path) -> None:
        """So that no more than two of them lie on the disk at once."""
        found = verdicts(trials, bounds, available_bytes=None)
        is_best = found[-1].reason is Reason.KEPT
        loser = best.path if is_best else path
        if loser is not None:
            self._layout.files.unlink(loser)
        if is_best:
            best.path = path

    def _publish(self, original: _Original, decided: Record, path: Path | None, report: Report) -> None:
        layout = self._layout
        with ExitStack() as held:
            weights = None
            if path is not None:
                news = f"storing the {decided.kept} variant"
                weights = layout.adopt(
                    path, link=True, report=lambda told: report(replace(told, status=news))
                )
                held.enter_context(layout.hold([weights.digest]))
            top, content, written = compose(decided, weights)
            held.enter_context(layout.hold([top.digest]))
            config = layout.put(written, DERIVED_RECORD)
            held.enter_context(layout.hold([config.digest]))
            layout.put(content, top.media_type)
            report(Progress(status="writing manifest"))
            self._link(original.reference, original.named, top)
        with suppress(OutpostError):  # the link is there; what is lost is the memory of some hashing
            layout.settle()
        self._on_change()

    def _link(self, reference: Reference, named: Descriptor, top: Descriptor | None) -> None:
        """Raises InvalidRequest where the name stands for something else by now."""
        without = {key: value for key, value in named.annotations.items() if key != DERIVED_LINK}
        before = replace(named, annotations=without)
        link = {} if top is None else {DERIVED_LINK: link_to(top)}

        def changed(annotations: Mapping[str, str]) -> dict[str, str]:
            return {**{key: value for key, value in annotations.items() if key != DERIVED_LINK}, **link}

        self._layout.annotate(reference, named.digest, changed)
        now = self._layout.find(reference)
        if now.digest != named.digest or (
            top is not None and now.annotations.get(DERIVED_LINK) != link_to(top)
        ):
            raise InvalidRequest(
                reason=f"'{reference.display}' stands for another model by now; nothing is kept", param="name"
            )
        old = self._layout.closure(named).keys() - self._layout.closure(before).keys()
        self._layout.let_go(old - self._layout.closure(now).keys())

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """An empty file in the store that is gone afterwards, also after a crash."""
        path = self._layout.places.temporary(f"optimized-{secrets.token_hex(8)}")
        files = self._layout.files
        os.close(files.create(path))
        try:
            yield path
        finally:
            files.unlink(path)


def _kinds(wish: OptimizeWish, tools: Tools) -> tuple[str, ...]:
    if len(wish.kinds) > MAX_CANDIDATES:
        raise InvalidRequest(
            reason=f"{len(wish.kinds)} types, at most {MAX_CANDIDATES} are tried", param="candidates"
        )
    return tuple(dict.fromkeys(tools.check(kind) for kind in wish.kinds))


def _expected_bytes(original: _Original, kind: str) -> int:
    """At most."""
    return quantized_bytes([read_header(path) for path in original.paths], kind)


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


def _record(
    original: _Original,
    trials: Sequence[Trial],
    found: Sequence[Verdict],
    bounds: Bounds,
    standing: Standing,
) -> Record:
    judged = next((trial.judged for trial in trials if trial.judged is not None), None)
    return Record(
        model=original.named.digest,
        original=original.quantization,
        original_bytes=original.size_bytes,
        kept=next((one.kind for one in found if one.reason is Reason.KEPT), None),
        chip=standing.chip.mark,
        build=standing.build,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        max_kl=bounds.max_kl,
        min_speedup=bounds.min_speedup,
        tokens=judged.divergence.tokens if judged else 0,
        tried=record.tried(trials, found),
    )
