"""The store as the rest of the house sees it: every verb on stored models. Implements `verbs.StoreVerbs`.

    pull ┐                                    ┌ list, show
    import ├─► layout ◄── gate ◄── admission   ├ serve_specs ─► supervisor
    create ┘      │          └── probe (runner)└ /v2, export, push
                  └ scrub, gc

Each part has its own module; here they are put together. A name appears only behind the gate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from appliance.errors import InvalidReference, ModelNotFound, OutboundRefused, OutpostError, Unsupported
from appliance.modelfile import parse
from appliance.store import gc, listing_rows, scrub, upload
from appliance.store.arrivals import named_where_full
from appliance.store.build import Builder, Order, Quantize
from appliance.store.content import Progress, Report, unreported
from appliance.store.copy import Foresee
from appliance.store.derived import Derivations
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest
from appliance.store.exchange import Exchange
from appliance.store.files import Files
from appliance.store.gate import Gate, Probe
from appliance.store.kept import PROTECTED_S
from appliance.store.layout import Layout
from appliance.store.listing import ListedModel
from appliance.store.model import StoredModel
from appliance.store.optimize import Optimizer, Optimizing
from appliance.store.picking import Taking
from appliance.store.reader import ModelReader
from appliance.store.reference import Reference, parse_reference
from appliance.store.remote import Remote
from appliance.store.scrub import Broken, Scrubber, ScrubReport
from appliance.store.scrub_age import last_round_s
from appliance.store.serving import ServeSpec, serve_spec
from appliance.store.settings import StorePolicy
from appliance.store.shelf import Shelf
from appliance.store.show import ShownModel
from appliance.store.shown import shown
from appliance.store.verbs import (
    CalibrateWish,
    Calibrating,
    Calibration,
    Collected,
    Optimized,
    OptimizeWish,
    Verified,
)
from appliance.store.work import Work

_CLOSE_S: Final = 10.0
"""A verb looks at the halt with every chunk."""


def _nothing() -> None:
    """For who serves no models."""


class ModelStore:
    """Any thread; one per process and directory. What changes is owned by the layout."""

    def __init__(  # noqa: PLR0913 - the parts of a composition, all by name
        self,
        root: Path,
        policy: StorePolicy,
        *,
        probe: Probe | None = None,
        quantize: Quantize | None = None,
        available_bytes: Callable[[], int | None] = lambda: None,
        on_change: Callable[[], None] = _nothing,
        in_use: Callable[[], Collection[str]] = frozenset,
        optimizing: Optimizing = Optimizing(),  # noqa: B008 - frozen
        calibrating: Calibrating | None = None,
        files: Files = Files(),  # noqa: B008 - stateless
    ) -> None:
        """`on_change` is called on the thread of the verb that changed which models there are, before the
        verb returns. `in_use`: paths that runners have open, which `gc` leaves. With an index that is damaged
        or lost it opens: every verb raises StoreFault then, until `rebuild_index`. Raises StoreInUse,
        StoreFault.
        """
        self.layout = Layout(root, files=files, floor_fraction=policy.floor_fraction, lenient=True)
        self._reader = ModelReader(self.layout)
        self._on_change = on_change
        self._in_use = in_use
        gate = Gate(self.layout, self._reader, probe=probe)
        shelf = Shelf(self.layout, on_change=on_change)
        self._shelf = shelf
        self._builder = Builder(self.layout, gate, shelf, find=self._find, quantize=quantize)
        self._remote = Remote(self.layout, gate, shelf, policy=policy, available_bytes=available_bytes)
        self._exchange = Exchange(self.layout, gate, shelf, self._builder, available_bytes=available_bytes)
        self._derivations = Derivations(
            self.layout,
            standing=optimizing.tools.standing if optimizing.tools else None,
            hints=optimizing.hints,
        )
        self._optimizer = Optimizer(
            self.layout, self._reader, self._derivations, given=optimizing, on_change=on_change
        )
        self._calibrating = calibrating
        self._work = Work(self.layout.monotonic)
        self._scrubber: Scrubber | None = None
        self._scrub_lock = threading.Lock()

    def halt(self) -> None:
        """Let what runs end at its next step with ShuttingDown, and refuse what comes. Hashing ends too, of
        whatever thread.
        """
        self._work.halt()
        self.layout.blobs.halt()

    def close(self) -> None:
        """Halts and waits. Where a verb does not end in time, the next start finds an unclean stop, no
        more.
        """
        self.halt()
        if not self._work.wait(_CLOSE_S):
            return
        with self._scrub_lock:
            if self._scrubber is not None:
                self._scrubber.close()
                self._scrubber = None
        self.layout.close()

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────

    def list(self, prefix: str = "") -> Sequence[ListedModel]:
        return listing_rows.rows(self.layout, self._reader, prefix=prefix, tell=self._derivations.told)

    def show(self, name: str) -> ShownModel:
        reference = parse_reference(name)
        descriptor = self.layout.lookup(reference)
        rows = [row for row in self.list() if row.digest == descriptor.digest]
        key = reference.key
        listed = next((row for row in rows if parse_reference(row.name).key == key), rows[0])
        told = shown(self.layout, listed, self._reader.model(descriptor), descriptor)
        told = replace(told, calibrated=self._calibrated(name))
        found = self._derivations.find(descriptor)
        return told if found is None else replace(told, optimization=found.record)

    def serve_specs(self, *, only_known: bool = False) -> Sequence[ServeSpec]:
        """Every name, for who serves them. `only_known`: nothing is hashed; what an unclean stop has left in
        doubt is told as broken for now.
        """
        return listing_rows.of_one_moment(
            self.layout,
            lambda named: [
                serve_spec(
                    self.layout,
                    self._reader,
                    reference,
                    descriptor,
                    derivations=self._derivations,
                    only_known=only_known,
                )
                for reference, descriptor in named
            ],
        )

    # ── in and out ──────────────────────────────────────────────────────────────────────────────────

    def pull(self, name: str, report: Report, *, as_name: str | None = None) -> str:
        with self._bringing(report) as guarded:
            return self._remote.pull(name, self._builder, guarded, as_name=as_name).display

    def push(self, name: str, report: Report, *, target: str | None = None) -> str:
        reference = parse_reference(name)
        destination = reference if target is None else parse_reference(target, allow_scheme=True)
        with self._work.one(report) as guarded:
            self._remote.push(reference, destination.with_digest(None), guarded)
        return destination.display

    def import_file(
        self,
        path: Path,
        name: str | None,
        report: Report,
        *,
        link: bool = False,
        as_name: str | None = None,
    ) -> Sequence[str]:
        taking = Taking(
            path=path,
            name=None if name is None else parse_reference(name),
            as_name=None if as_name is None else _new_name(as_name),
            link=link,
        )
        with self._bringing(report) as guarded:
            names = self._exchange.import_file(taking, guarded)
        return [reference.display for reference in names]

    def export(self, name: str, target: Path, report: Report) -> None:
        with self._work.one(report) as guarded:
            self._exchange.export(parse_reference(name), target, guarded)

    def create(
        self,
        name: str,
        modelfile: str,
        report: Report,
        *,
        base_dir: Path | None = None,
        quantize: str | None = None,
    ) -> str:
        reference = _new_name(name)
        order = Order(reference=reference, recipe=parse(modelfile), base_dir=base_dir, quantize=quantize)
        with self._bringing(report) as guarded:
            self._builder.build(order, guarded)
        return reference.display

    def has_blob(self, digest: Digest) -> bool:
        found = self.layout.blobs.status(digest)
        if found is None:
            return False
        return self.layout.has(Descriptor(media_type=upload.MEDIA_TYPE, digest=digest, size=found.st_size))

    def take_blob(self, digest: Digest, chunks: Iterable[bytes], *, size: int | None) -> None:
        with self._bringing(unreported) as guarded:
            upload.receive(self.layout, digest, chunks, size=size, report=guarded)

    def optimize(self, name: str, report: Report, *, wish: OptimizeWish) -> Optimized:
        reference = parse_reference(name)
        with self._bringing(report) as guarded:
            return self._optimizer.optimize(reference, wish, guarded)

    def unoptimize(self, name: str) -> bool:
        reference = parse_reference(name)
        with self._bringing(unreported):
            return self._optimizer.undo(reference)

    def optimize_next(self, report: Report) -> Optimized | None:
        """Of a model that may be faster and was not measured here yet; None: there is none."""
        with self._bringing(report) as guarded:
            return self._optimizer.next(guarded)

    def calibrate(self, name: str, report: Report, *, wish: CalibrateWish) -> Calibration:
        with self._work.one(report) as guarded:
            return self._calibrator.calibrate(name, guarded, wish=wish)

    def calibration(self, name: str) -> Calibration:
        return self._calibrator.calibration(name)

    def forget_calibration(self, name: str) -> bool:
        return self._calibrator.forget(name)

    def _calibrated(self, name: str) -> str | None:
        """In words."""
        if self._calibrating is None:
            return None
        with suppress(OutpostError):  # a model that cannot be served is shown all the same
            return self._calibrating.calibration(name).sentence
        return None

    @property
    def _calibrator(self) -> Calibrating:
        if self._calibrating is None:
            raise Unsupported(feature="calibrate", reason="this program measures nothing", param="verb")
        return self._calibrating

    # ── names ───────────────────────────────────────────────────────────────────────────────────────

    def copy(self, source: str, destination: str) -> None:
        target = _new_name(destination)
        with self._bringing(unreported):
            found = self.layout.lookup(parse_reference(source))
            self._shelf.publish(target, Resolved(descriptor=found, content=self.layout.fetch(found)))
            self._optimizer.carry(found, target)

    def remove(self, name: str) -> None:
        self.layout.untag(parse_reference(name))
        self._on_change()

    # ── health ──────────────────────────────────────────────────────────────────────────────────────

    def verify(self, name: str | None, report: Report) -> Verified:
        reference = parse_reference(name) if name is not None else None
        with self._work.one(report) as guarded:
            tally = _Tally(guarded)
            broken = scrub.verify(self.layout, reference, tally)
        if broken:
            self._on_change()
        return Verified(
            blobs=tally.blobs,
            size_bytes=tally.size_bytes,
            broken=[(_whose(found), found.reason) for found in broken],
        )

    def rebuild_index(self) -> Sequence[str] | None:
        names = self.layout.rebuild_index()
        if names is not None:
            self._on_change()
        return names

    def gc(self, *, dry_run: bool = False, grace_s: float | None = None, arrivals: bool = False) -> Collected:
        grace_s = PROTECTED_S if grace_s is None else grace_s
        freed = gc.collect(
            self.layout,
            dry_run=dry_run,
            in_use=self._in_use(),
            grace_s=grace_s,
            at_work_since_s=self._work.since_s(),
            arrivals=arrivals,
        )
        return Collected(
            blobs=len(freed.blobs) + len(freed.leftovers),
            size_bytes=freed.freed_bytes,
            grace_s=grace_s,
            young=freed.young,
            at_work=freed.at_work,
            arrivals=freed.arrivals,
            cut_off=freed.cut_off,
            withheld=freed.withheld,
        )

    def gc_withheld(self) -> Sequence[str]:
        """What keeps `gc` from freeing any blob just now; nothing is hashed."""
        return gc.withheld(self.layout)

    def settle(self) -> None:
        """Make durable what is known of the blobs. Raises StoreFault."""
        self.layout.settle()

    def scrub_step(self, budget_bytes: int) -> ScrubReport:
        """One piece of a round. Always the same thread."""
        with self._scrub_lock:
            if self._scrubber is None:
                self._scrubber = Scrubber(self.layout)
            return self._scrubber.step(budget_bytes)

    def scrub_age_s(self) -> float | None:
        """Since the last full round; None: one is under way, or there was none."""
        finished_s = last_round_s(self.layout)
        return None if finished_s is None else max(0.0, time.time() - finished_s)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _bringing(self, report: Report) -> Iterator[Report]:
        """Around a verb that needs room."""
        with self._work.one(report) as guarded, named_where_full(self.layout):
            yield guarded

    def _find(self, reference: Reference, report: Report, foresee: Foresee | None) -> StoredModel:
        """What FROM names; pulled where it is not there and may be."""
        try:
            found = self.layout.lookup(reference)
        except ModelNotFound as missing:
            try:
                self._remote.pull(reference.name, self._builder, report, as_name=None, foresee=foresee)
            except OutboundRefused:
                raise missing from None
            found = self.layout.lookup(reference)
        return self._reader.model(found)


class _Tally:
    """A report that counts the blobs that are read. Lives inside one verification."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: set[Digest] = set()
        self.size_bytes = 0

    @property
    def blobs(self) -> int:
        return len(self._seen)

    def __call__(self, progress: Progress) -> None:
        if progress.digest is not None:
            self._seen.add(progress.digest)
        self.size_bytes = max(self.size_bytes, progress.total_bytes or 0)
        self._report(progress)


def _new_name(name: str) -> Reference:
    """Raises InvalidReference: a digest comes of the content, nobody gives it."""
    reference = parse_reference(name)
    if reference.digest is not None:
        raise InvalidReference(text=name[:200], reason="a new name has no digest")
    return reference


def _whose(broken: Broken) -> str:
    names = ", ".join(reference.display for reference in broken.models)
    return names or str(broken.digest)
