"""The store with all its parts: the probe and the quantiser, which are children of whoever asks, and what the
memory has room for. For the daemon, and for the command line where no daemon runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance import log
from appliance.config import Config
from appliance.daemon.calibration_parts import BoardCalibration
from appliance.daemon.own_wishes import placed
from appliance.daemon.placements import placement
from appliance.daemon.plans import budget_of
from appliance.daemon.policies import runner_policy
from appliance.daemon.standing import standing
from appliance.hardware import meminfo, memory
from appliance.hardware.root import Root
from appliance.optimizing.judged_text import judged_text
from appliance.optimizing.standing import Standing
from appliance.optimizing.verdict import Bounds
from appliance.store.content import Wanted
from appliance.store.gate import ProbeRequest
from appliance.store.opening import open_store as open_plain
from appliance.store.optimize import Optimizing
from appliance.store.store import ModelStore
from appliance.store.trials import Duel
from appliance.store.verbs import Calibrating
from appliance.supervisor import quantizer
from appliance.supervisor.judge import JudgeChild, JudgeRequest
from appliance.supervisor.probe import PROBE_PLACEMENT, Probe
from appliance.supervisor.probe import ProbeRequest as RunnerProbe
from appliance.supervisor.quantizer import Quantizer
from appliance.wire.judge import Judged

_PATIENCE_S: Final = 600.0
_IMPATIENCE_S: Final = 5.0
"""Who optimises unasked tries again later."""


class Children:
    """The throw-away processes of the store. Any thread; `close` ends what runs and refuses what comes."""

    def __init__(
        self, config: Config, *, busy: Callable[[], bool] = lambda: False, sysroot: Path = Path("/")
    ) -> None:
        """`busy`: somebody waits for an answer of this process. `sysroot`: whose chip and memory count."""
        policy = runner_policy(config)
        self._config = config
        self._busy = busy
        self._sysroot = sysroot
        self._judge = JudgeChild(policy)
        self._probe = Probe(policy)
        self._own_kernels = config.engine.own_kernels
        self._quantizer = Quantizer(policy)

    def close(self) -> None:
        self._probe.close()
        self._quantizer.close()
        self._judge.close()

    def probe(self, request: ProbeRequest, *, wanted: Wanted) -> None:
        """`store.gate.Probe`: with the placement that a runner would serve it in, for one sequence."""
        self._probe(
            RunnerProbe(
                model=request.model,
                paths=request.paths,
                adapters=request.adapters,
                draft=request.draft,
                template=request.template,
                placement=placed(PROBE_PLACEMENT, request.placement),
                own_kernels=self._own_kernels,
            ),
            gone=_gone(wanted),
        )

    def check(self, kind: str) -> str:
        """With `__call__`: `store.build.Quantize`."""
        return quantizer.checked_kind(kind)

    def __call__(
        self,
        sources: Sequence[Path],
        target: Path,
        kind: str,
        *,
        model: str,
        report: Callable[[float], None],
        wanted: Wanted,
    ) -> None:
        self._quantizer(sources, target, kind, report, model=model, gone=_gone(wanted))

    # ── `store.optimize.Tools` ──────────────────────────────────────────────────────────────────────

    def standing(self) -> Standing:
        return standing(own_kernels=self._own_kernels, sysroot=self._sysroot)

    def available_bytes(self) -> int | None:
        return meminfo.read(self._sysroot).available_bytes

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
        self._quantizer(sources, target, kind, report, model=model, allow_requantize=True, gone=_gone(wanted))

    def judge(
        self, duel: Duel, *, report: Callable[[str, float], None], wanted: Wanted, is_patient: bool
    ) -> Judged:
        settings = self._config.optimize
        request = JudgeRequest(
            model=duel.model,
            original=duel.original,
            candidate=duel.candidate,
            placement=placement(self._config, duel.placement),
            own_kernels=self._own_kernels,
            text=judged_text(),
            tokens=settings.tokens,
            rounds=settings.rounds,
            max_kl=duel.max_kl,
            limit_s=settings.limit_s,
            patience_s=_PATIENCE_S if is_patient else _IMPATIENCE_S,
        )
        return self._judge(request, report, gone=_gone(wanted), busy=self._busy)


def _gone(wanted: Wanted) -> Callable[[], bool]:
    """How those who wait for a child ask: it raises, or the answer is no."""

    def asked() -> bool:
        wanted()
        return False

    return asked


def make_store(
    config: Config,
    children: Children,
    *,
    on_change: Callable[[], None] = lambda: None,
    in_use: Callable[[], Collection[str]] = frozenset,
    calibrating: Calibrating | None = None,
    sysroot: Path = Path("/"),
) -> ModelStore:
    """`sysroot`: whose memory decides which variant is pulled. Raises StoreInUse, StoreFault."""
    return open_plain(
        config.data.dir,
        config.store,
        probe=children.probe,
        quantize=children,
        available_bytes=lambda: _plannable_bytes(config, sysroot),
        on_change=on_change,
        in_use=in_use,
        optimizing=optimizing_of(config, children),
        calibrating=calibrating,
    )


def _plannable_bytes(config: Config, sysroot: Path) -> int | None:
    """What a model may be planned with: a variant that is chosen by it can be loaded."""
    known = budget_of(memory.read(Root(sysroot)), reserve_bytes=config.memory.reserve_bytes)
    return None if known is None else known.bytes


def optimizing_of(config: Config, children: Children) -> Optimizing:
    settings = config.optimize
    return Optimizing(
        tools=children,
        bounds=Bounds(max_kl=settings.max_kl, min_speedup=settings.min_speedup, min_ratio=settings.min_ratio),
        hints=settings.policy == "ask",
    )


@contextmanager
def open_store(config: Config) -> Iterator[ModelStore]:
    """For one command of a process that serves nothing: what goes wrong is its error, not its log."""
    log.configure(level="error", form=config.log.format)
    children = Children(config)
    calibration = BoardCalibration(config, stored=lambda: store.serve_specs(), standing=children.standing)
    store = make_store(config, children, calibrating=calibration.calibrator)
    try:
        yield store
    finally:
        children.close()
        calibration.close()
        store.close()
