"""`outpost calibrate`: drives the course of measurements on this board, and puts back what it changed.

    course (what next) ─► power mode ─► bench (a child) ─► course … ─► findings ─► record ─► models told

One at a time, and only while nobody waits for an answer. To cancel is to raise in `report`; then nothing is
kept. Runs on the thread of the operation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from appliance import log
from appliance.calibrating.course import Wish, course
from appliance.calibrating.outline import outline
from appliance.calibrating.pieces import MANY
from appliance.calibrating.record import Record
from appliance.calibrating.values import Axis, Findings, Order, Setup, Told
from appliance.config import Config
from appliance.daemon.calibrations import Calibrations, identity_of
from appliance.daemon.energy_meter import PieceMeter
from appliance.daemon.policies import runner_policy
from appliance.daemon.power_modes import PowerModes
from appliance.errors import (
    InsufficientMemory,
    InvalidRequest,
    ModelBroken,
    ModelNotFound,
    Overloaded,
    ShuttingDown,
)
from appliance.hardware import cpu, meminfo
from appliance.hardware.root import Root
from appliance.optimizing.standing import Standing
from appliance.store.content import Progress, Report
from appliance.store.verbs import CalibrateWish, Calibration
from appliance.supervisor.bench import BENCH_COMMAND, BenchChild, BenchRequest
from appliance.supervisor.policy import ModelSpec
from appliance.wire.calibrate import Take, Taken

_log = log.logger("calibration")

_WINDOW: Final = 3_712
"""The depth that prices are for, and room for some steps."""
_SHORT_WINDOW: Final = 1_152
"""Where memory is short."""
_CONTEXT_BYTES: Final = 512 << 20
"""For contexts and buffers, beside the weights; roughly."""
_COPIED: Final = 1.2
"""Weights in memory, by the size of their file, where they are laid out anew."""
_OURS: Final = 0.7
"""Of the memory that is available, for loads that lie beside each other."""
_MOST_LOADS: Final = 3
"""Layouts that are compared."""
_RETRY_S: Final = 60.0
_OVER: Final = "the time was over"
_SETTLE_S: Final = 1.0
"""Clocks and sensors follow a power mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model as it is served without any calibration."""

    spec: ModelSpec
    settled: frozenset[Axis]
    """What the configuration or the model has set."""


class Calibrator:
    """`store.verbs.Calibrating`. Any thread; measures for one at a time."""

    def __init__(  # noqa: PLR0913 - the parts of a composition, all by name
        self,
        config: Config,
        *,
        subject: Callable[[str], Subject],
        calibrations: Calibrations,
        standing: Callable[[], Standing],
        power_modes: PowerModes,
        busy: Callable[[], bool] = lambda: False,
        on_change: Callable[[], None] = lambda: None,
        sysroot: Path = Path("/"),
        command: Sequence[str] = BENCH_COMMAND,
    ) -> None:
        """`subject`: the model of a name; it raises ModelNotFound. `busy`: somebody waits for an answer."""
        self._config = config
        self._subject = subject
        self._calibrations = calibrations
        self._standing = standing
        self._power_modes = power_modes
        self._busy = busy
        self._on_change = on_change
        self._sysroot = sysroot
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._is_closed = threading.Event()

    def close(self) -> None:
        """End what runs with ShuttingDown, refuse what comes, and see that the board is as it was. Waits for
        what runs, whose first act it is to set the power mode back.
        """
        self._is_closed.set()
        with self._turn:
            self._power_modes.restore()

    def calibrate(self, name: str, report: Report, *, wish: CalibrateWish) -> Calibration:
        subject = self._found(name)
        asked = self._wish(subject, wish)
        if wish.dry_run:
            return Calibration(name=subject.spec.name, plan=outline(asked))
        if not self._turn.acquire(blocking=False):
            raise Overloaded(waiting=1, limit=1, retry_after_s=_RETRY_S)
        try:
            self._power_modes.restore()
            findings, energy = self._measured(subject, asked, report)
        finally:
            self._turn.release()
        record = self._record(subject, findings, energy, limit_s=asked.limit_s)
        self._calibrations.keep(record)
        _log.info("model_calibrated", model=subject.spec.name, told=record.sentence)
        self._on_change()
        return self.calibration(name)

    def calibration(self, name: str) -> Calibration:
        spec = self._found(name).spec
        found = self._calibrations.find(spec.files)
        return Calibration(
            name=spec.name,
            record=None if found is None else found.record,
            stale=None if found is None else found.stale,
            sentence=None if found is None else found.sentence,
        )

    def forget(self, name: str) -> bool:
        is_forgotten = self._calibrations.forget(self._found(name).spec.files)
        if is_forgotten:
            self._on_change()
        return is_forgotten

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────

    def _found(self, name: str) -> Subject:
        subject = self._subject(name)
        if subject.spec.broken is not None:
            raise ModelBroken(model=subject.spec.name, reason=subject.spec.broken)
        return subject

    def _wish(self, subject: Subject, wish: CalibrateWish) -> Wish:
        spec = subject.spec
        if spec.placement.pooling not in {None, "none"}:
            raise InvalidRequest(
                reason=f"'{spec.name}' generates no text: how it is best served is not measured", param="name"
            )
        standing = self._standing()
        asked = Wish(
            setup=Setup(placement=spec.placement, own_kernels=spec.settings.own_kernels),
            limit_s=wish.limit_s or self._config.calibration.limit_s,
            usable_cores=cpu.read(self._sysroot).usable_big_cores,
            has_own_kernels=standing.own_kernels,
            settled=subject.settled,
        )
        if not wish.power_modes:
            return asked
        modes = self._power_modes.look()
        if isinstance(modes, str):
            return replace(asked, power_why_not=modes)
        number, names = modes
        return replace(asked, power_mode=number, power_modes=names)

    def _measured(self, subject: Subject, asked: Wish, report: Report) -> tuple[Findings, str | None]:
        """The findings, and why there are no joules."""
        spec = subject.spec
        request = self._request(spec)
        meter = PieceMeter(Root(self._sysroot))
        driver = _Driver(asked, self._power_modes, meter, report, self._check_wanted)
        try:
            with BenchChild(
                request,
                runner_policy(self._config),
                check_wanted=driver.check_wanted,
                busy=self._busy,
                command=self._command,
            ) as child:
                findings = driver.run(child)
        finally:
            fault = self._power_modes.restore()
        if fault is not None:
            report(Progress(status=f"the power mode could not be set back: {fault}"))
        return findings, meter.missing

    def _request(self, spec: ModelSpec) -> BenchRequest:
        """Raises InsufficientMemory."""
        paths = spec.paths or (spec.path,)
        size_bytes = sum(Path(path).stat().st_size for path in paths)
        needed = int(size_bytes * _COPIED)
        available = meminfo.read(self._sysroot).available_bytes
        if available is not None and needed + _CONTEXT_BYTES // 4 > available:
            raise InsufficientMemory(
                model=spec.name, needed_bytes=needed + _CONTEXT_BYTES // 4, available_bytes=available
            )
        is_roomy = available is not None and needed + _CONTEXT_BYTES < available
        loads = 1 if available is None else int(available * _OURS // (needed + _CONTEXT_BYTES))
        return BenchRequest(
            model=spec.name,
            paths=[Path(path) for path in paths],
            window=_WINDOW if is_roomy else _SHORT_WINDOW,
            width=max(1, min(MANY, spec.placement.n_seq_max)),
            most_models=max(1, min(_MOST_LOADS, loads)),
        )

    def _record(self, subject: Subject, findings: Findings, energy: str | None, *, limit_s: float) -> Record:
        spec, standing = subject.spec, self._standing()
        model = identity_of(spec.files)
        if model is None:
            raise ModelNotFound(model=spec.name, available=[])  # its files went meanwhile
        return Record(
            model=model,
            name=spec.name,
            board=self._calibrations.board,
            chip=standing.chip.mark,
            build=standing.build,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            limit_s=limit_s,
            findings=findings,
            energy=energy,
        )

    def _check_wanted(self) -> None:
        if self._is_closed.is_set():
            raise ShuttingDown


class _TimeOver(Exception):
    """The limit."""


class _Driver:
    """One course, from its first piece to its findings. Owned by the thread that asked."""

    def __init__(
        self,
        asked: Wish,
        power_modes: PowerModes,
        meter: PieceMeter,
        report: Report,
        check_wanted: Callable[[], None],
    ) -> None:
        self._asked = asked
        self._power_modes = power_modes
        self._meter = meter
        self._report = report
        self._check = check_wanted
        self._news = Progress(status="starting")
        self._began_s = time.monotonic()
        self._mode = asked.power_mode

    def check_wanted(self) -> None:
        """Raises when nobody wants it any more."""
        self._check()
        self._report(self._news)

    def _is_over(self, child: BenchChild) -> bool:
        return self._spent_s(child) > self._asked.limit_s

    def run(self, child: BenchChild) -> Findings:
        steps = course(self._asked)
        order = next(steps)
        while True:
            told = self._told(order, child)
            try:
                order = steps.send(told)
            except StopIteration as done:
                findings: Findings = done.value
                return findings

    def _told(self, order: Order, child: BenchChild) -> Told:
        self._news = Progress(status=_words(order))
        fault = self._switch(order.setup)
        if fault is not None:
            return Told(taken=None, spent_s=self._spent_s(child), fault=fault)
        take = Take(placement=order.setup.placement, own_kernels=order.setup.own_kernels, piece=order.piece)
        if self._is_over(child):
            return Told(taken=None, spent_s=self._spent_s(child), fault=_OVER)
        self._meter.begin()
        try:
            answer = child.take(take, lambda what: self._tell(what, order, child))
        except _TimeOver:
            child.end()
            return Told(taken=None, spent_s=self._spent_s(child), fault=_OVER)
        joules = self._meter.end(answer.elapsed_s if isinstance(answer, Taken) else 0.0)
        spent_s = self._spent_s(child)
        if isinstance(answer, Taken):
            return Told(taken=answer, spent_s=spent_s, joules=joules)
        return Told(taken=None, spent_s=spent_s, fault=answer.reason)

    def _switch(self, setup: Setup) -> str | None:
        """To the power mode of the setup; the one that the board was in for all without."""
        wanted = self._asked.power_mode if setup.power_mode is None else setup.power_mode
        if wanted is None or wanted == self._mode:
            return None
        fault = self._power_modes.set(wanted)
        if fault is None:
            self._mode = wanted
            time.sleep(_SETTLE_S)
        return fault

    def _tell(self, what: str, order: Order, child: BenchChild) -> None:
        """Raises _TimeOver in the middle of a piece: others may hold it up for as long as they like."""
        if self._is_over(child):
            raise _TimeOver
        self._meter.look()
        words = (
            "waiting: it is measured while nobody waits for an answer" if what == "waiting" else _words(order)
        )
        self._news = Progress(status=words)

    def _spent_s(self, child: BenchChild) -> float:
        return time.monotonic() - self._began_s - child.waited_s


def _words(order: Order) -> str:
    return f"measuring {order.axis.replace('_', ' ')}: {order.label}"
