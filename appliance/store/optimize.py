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
from typing import Final

from appliance.errors import (
    ClientGone,
    ContentError,
    InvalidRequest,
    OutpostError,
    RequestError,
    Unsupported,
)
from appliance.optimizing import record
from appliance.optimizing.candidates import candidates, hint
from appliance.optimizing.record import Record
from appliance.optimizing.standing import Standing
from appliance.optimizing.verdict import Bounds, Reason, Trial, Verdict, verdicts
from appliance.store import admission
from appliance.store.content import Progress, Report
from appliance.store.derived import Derivations, compose
from appliance.store.derived_link import DERIVED_LINK, link_to
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.media_types import DERIVED_RECORD
from appliance.store.model_settings import settings_of
from appliance.store.reader import ModelReader
from appliance.store.reference import Reference
from appliance.store.trials import Original, Tools, Trials
from appliance.store.verbs import Optimized, OptimizeWish

MAX_CANDIDATES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizing:
    """What the composition gives to it."""

    tools: Tools | None = None
    """None: this process cannot."""
    bounds: Bounds = field(default_factory=Bounds)
    hints: bool = False
    """Tell of models that may be faster in another type."""


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

    def _original(self, reference: Reference) -> Original:
        named = self._layout.lookup(reference)
        model = self._reader.model(named)
        paths = tuple(self._layout.path(blob.digest) for blob in model.weights)
        name = reference.display
        facts = admission.check(paths, model=name)
        return Original(
            reference=reference,
            named=named,
            paths=paths,
            quantization=facts.quantization or "unknown",
            size_bytes=sum(blob.size for blob in model.weights),
            placement=settings_of(model.params, model=name).placement,
        )

    def _work(
        self,
        original: Original,
        kinds: tuple[str, ...],
        wish: OptimizeWish,
        tools: Tools,
        report: Report,
    ) -> Optimized:
        standing = tools.standing()
        kinds = kinds or candidates(original.quantization, standing)
        bounds = self._bounds if wish.max_kl is None else replace(self._bounds, max_kl=wish.max_kl)
        best, trials = _Best(), []
        work = Trials(
            original=original,
            tools=tools,
            space=self._layout.space,
            max_kl=bounds.max_kl,
            is_patient=wish.is_patient,
            report=report,
        )
        with ExitStack() as files:
            for kind in kinds:
                path = files.enter_context(self._temporary())
                trials.append(work.run(kind, path))
                self._keep_best(trials, bounds, best, path)
            found = verdicts(trials, bounds)
            decided = _record(original, trials, found, bounds, standing)
            for one in decided.tried:
                report(Progress(status=f"{one.kind}: {one.text}"))
            if not wish.dry_run:
                self._publish(original, decided, best.path if decided.kept else None, report)
        return Optimized(name=original.reference.display, record=decided, dry_run=wish.dry_run)

    def _keep_best(self, trials: Sequence[Trial], bounds: Bounds, best: _Best, path: Path) -> None:
        """So that no more than two of them lie on the disk at once."""
        found = verdicts(trials, bounds)
        is_best = found[-1].reason is Reason.KEPT
        loser = best.path if is_best else path
        if loser is not None:
            self._layout.files.unlink(loser)
        if is_best:
            best.path = path

    def _publish(self, original: Original, decided: Record, path: Path | None, report: Report) -> None:
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


def _record(
    original: Original,
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
